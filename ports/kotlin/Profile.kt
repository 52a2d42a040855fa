// SPDX-License-Identifier: Apache-2.0
//
// An embedded ICC profile -> sRGB, relative colorimetric, in double precision: for profiles of a matrix and curves (RGB) or
// a curve (grey), which is what cameras and phones write. Within 1 of Little CMS, so level B. Others are refused.
package skinedge

import java.nio.ByteBuffer
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow

/** XYZ of D50 -> linear sRGB. */
private val TO_SRGB = listOf(
    listOf(3.1338561, -1.6168667, -0.4906146), listOf(-0.9787684, 1.9161415, 0.0334540), listOf(0.0719453, -0.2289914, 1.4052427)
)

private fun refused() = CannotAssess("the colour profile is of a kind that is not applied here")

/** A tag's bytes, null where it is missing or outside. */
private fun ByteArray.tag(name: String): ByteArray? {
    var at = 132
    while (at < 132 + 12 * big32(128) && at + 12 <= size) {
        val (from, length) = listOf(big32(at + 4), big32(at + 8))
        if (text(at, at + 4) == name) {
            return if (from + length <= size && length >= 12) copyOfRange(from.toInt(), (from + length).toInt()) else null
        }
        at += 12
    }
    return null
}

/** Whether an ICC profile may be left alone: it describes sRGB, is damaged, or is for another colour model. */
fun profileIsSkipped(profile: ByteArray, grey: Boolean): Boolean {
    if (profile.size < 132 || profile.text(36, 40) != "acsp") return true
    if (profile.text(16, 20) != if (grey) "GRAY" else "RGB ") return true
    val description = profile.tag("desc") ?: return false
    return "srgb" in description.text(0, description.size).replace("\u0000", "").toLowerCase()
}

private fun colorant(profile: ByteArray, name: String): List<Double> {
    val tag = profile.tag(name)?.takeIf { it.text(0, 4) == "XYZ " && it.size >= 20 } ?: throw refused()
    return listOf(8, 12, 16).map { ByteBuffer.wrap(tag).getInt(it) / 65536.0 }
}

/** Linear light of each byte. */
private fun curve(profile: ByteArray, name: String): List<Double> {
    val tag = profile.tag(name) ?: throw refused()
    val linear: (Double) -> Double
    if (tag.text(0, 4) == "curv") {
        val count = tag.big32(8).toInt()
        if (count < 0 || count > (tag.size - 12) / 2) throw refused()
        val table = List(count) { tag.big16(12 + 2 * it).toDouble() }
        linear = { x ->
            val at = x * (count - 1)
            val low = max(0, min(floor(at).toInt(), count - 2))
            when (count) {
                0 -> x
                1 -> x.pow(table[0] / 256)
                else -> (table[low] + (table[low + 1] - table[low]) * (at - low)) / 65535
            }
        }
    } else {
        val type = tag.big16(8)
        val length = listOf(1, 3, 4, 5, 7).getOrNull(type) ?: throw refused()
        if (tag.text(0, 4) != "para" || tag.size < 12 + 4 * length) throw refused()
        val p = List(length) { ByteBuffer.wrap(tag).getInt(12 + 4 * it) / 65536.0 }
        val (a, b) = listOf(p.getOrElse(1) { 1.0 }, p.getOrElse(2) { 0.0 })
        val power = { x: Double -> max(0.0, a * x + b).pow(p[0]) }
        linear = { x ->
            when (type) {
                0 -> power(x)
                1 -> if (x >= -b / a) power(x) else 0.0
                2 -> (if (x >= -b / a) power(x) else 0.0) + p[3]
                3 -> if (x >= p[4]) power(x) else p[3] * x
                else -> if (x >= p[4]) power(x) + p[5] else p[3] * x + p[6]
            }
        }
    }
    return List(256) { linear(it / 255.0) }
}

private fun encoded(linear: Double): Byte {
    val x = min(1.0, max(0.0, linear))
    return Math.round(255 * if (x <= 0.0031308) 12.92 * x else 1.055 * x.pow(1 / 2.4) - 0.055).toByte()
}

/** RGB bytes in the colours of `profile` -> sRGB, in place, unless it is skipped. grey: of a grey picture without alpha. */
fun applyProfile(rgb: ByteArray, profile: ByteArray, grey: Boolean) {
    if (profileIsSkipped(profile, grey)) return
    if (profile.tag("A2B0") != null || profile.tag("A2B1") != null) throw refused()
    if (grey) {
        val table = curve(profile, "kTRC").map(::encoded)
        for (i in rgb.indices) rgb[i] = table[rgb.at(i)]
        return
    }
    val curves = listOf("rTRC", "gTRC", "bTRC").map { curve(profile, it).toDoubleArray() }
    val columns = listOf("rXYZ", "gXYZ", "bXYZ").map { colorant(profile, it) }
    val matrix = TO_SRGB.map { row -> columns.map { xyz -> row.zip(xyz) { a, b -> a * b }.sum() }.toDoubleArray() }
    for (i in rgb.indices step 3) {
        val (red, green, blue) = listOf(curves[0][rgb.at(i)], curves[1][rgb.at(i + 1)], curves[2][rgb.at(i + 2)])
        for (c in 0..2) rgb[i + c] = encoded(matrix[c][0] * red + matrix[c][1] * green + matrix[c][2] * blue)
    }
}
