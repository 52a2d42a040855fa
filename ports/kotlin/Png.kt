// SPDX-License-Identifier: Apache-2.0
//
// PNG at full depth with straight alpha, which neither Android's Bitmap nor ImageIO gives in every case.
package skinedge

import java.util.zip.DataFormatException
import java.util.zip.Inflater
import kotlin.math.abs

internal class Png(val picture: Picture, val profile: ByteArray?)

private val DEPTHS = mapOf(0 to listOf(1, 2, 4, 8, 16), 2 to listOf(8, 16), 3 to listOf(1, 2, 4, 8), 4 to listOf(8, 16), 6 to listOf(8, 16))
private val CHANNELS = mapOf(0 to 1, 2 to 3, 3 to 1, 4 to 2, 6 to 4)

// Chunks that are not critical, and that the answer follows from.
private val ANSWERED_BY = listOf("tRNS", "iCCP", "eXIf")
private val ONCE = listOf("IHDR", "PLTE") + ANSWERED_BY

/** The part of an interlaced picture that one of its passes holds. */
private class Pass(val x: Int, val y: Int, val dx: Int, val dy: Int)

private val PASSES = listOf(
    Pass(0, 0, 8, 8), Pass(4, 0, 8, 8), Pass(0, 4, 4, 8), Pass(2, 0, 4, 4), Pass(0, 2, 2, 4), Pass(1, 0, 2, 2), Pass(0, 1, 1, 2)
)

internal fun decodePng(file: ByteArray, maxPixels: Long): Png {
    val damaged = CannotAssess("the picture is damaged or truncated")
    val all = chunks(file)
    val chunks = all.take(all.indexOfFirst { it.name == "IEND" }.let { if (it < 0) all.size else it + 1 })
    if (chunks.any { (it.name[0].isUpperCase() || it.name in ANSWERED_BY) && !it.isWhole }) throw damaged
    if (ONCE.any { name -> chunks.count { it.name == name } > 1 }) throw damaged
    fun data(name: String) = chunks.find { it.name == name }?.let { file.copyOfRange(it.from, it.to) }
    val head = data("IHDR")?.takeIf { it.size == 13 } ?: throw damaged
    val palette = data("PLTE")
    need(head.big32(0) > 0 && head.big32(4) > 0, "the picture has no pixels")
    need(head.big32(0) <= maxPixels / head.big32(4), "the picture has more pixels than the limit")
    val (width, height) = listOf(head.big32(0).toInt(), head.big32(4).toInt())
    val (depth, colour) = listOf(head.at(8), head.at(9))
    if (depth !in DEPTHS[colour].orEmpty() || head.at(12) > 1 || colour == 3 && palette == null) throw damaged
    val channels = CHANNELS.getValue(colour)
    val bits = channels * depth
    val passes = if (head.at(12) == 1) PASSES else listOf(Pass(0, 0, 1, 1))
    val inflater = Inflater()
    val packed = chunks.filter { it.name == "IDAT" }.map { file.copyOfRange(it.from, it.to) }
    var next = 0
    fun fill(out: ByteArray) {
        var at = 0
        while (at < out.size) {
            at += inflater.inflate(out, at, out.size - at)
            if (at < out.size && inflater.needsInput()) inflater.setInput(packed.getOrNull(next++) ?: throw damaged)
            else if (at < out.size && (inflater.finished() || inflater.needsDictionary())) throw damaged
        }
    }
    val samples = ByteArray(Math.multiplyExact(width * height, channels * if (depth == 16) 2 else 1))
    try {
        for (pass in passes) {
            val columns = (width - pass.x + pass.dx - 1) / pass.dx
            val rows = (height - pass.y + pass.dy - 1) / pass.dy
            if (columns <= 0 || rows <= 0) continue
            val size = ((columns.toLong() * bits + 7) / 8).toInt()
            var above = ByteArray(size)
            val filtered = ByteArray(size + 1)
            for (row in 0 until rows) {
                fill(filtered)
                val line = filtered.copyOfRange(1, size + 1)
                unfilter(filtered.at(0), line, above, maxOf(1, bits / 8))
                unpack(line, samples, (pass.y + row * pass.dy) * width + pass.x, pass.dx, columns, channels, depth)
                above = line
            }
        }
    } catch (error: DataFormatException) {
        throw damaged
    } finally {
        inflater.end()
    }
    val picture = expanded(samples, width, height, depth, colour, palette, data("tRNS"))
    return Png(picture, data("iCCP")?.let(::profileIn))
}

private fun profileIn(chunk: ByteArray): ByteArray? {
    val inflater = Inflater()
    val from = chunk.indexOf(0.toByte()) + 2
    if (from < 2 || from > chunk.size) return null
    inflater.setInput(chunk, from, chunk.size - from)
    val out = ByteArray(1 shl 22)
    return try {
        out.copyOf(inflater.inflate(out)).takeIf { inflater.finished() }
    } catch (error: DataFormatException) {
        null // damaged: the samples count as sRGB
    } finally {
        inflater.end()
    }
}

private fun unfilter(kind: Int, line: ByteArray, above: ByteArray, distance: Int) {
    need(kind <= 4, "the picture is damaged or truncated")
    for (i in line.indices) {
        val left = if (i >= distance) line.at(i - distance) else 0
        val up = above.at(i)
        val corner = if (i >= distance) above.at(i - distance) else 0
        val predicted = when (kind) {
            1 -> left
            2 -> up
            3 -> (left + up) / 2
            4 -> {
                val (a, b, c) = listOf(abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
                if (a <= b && a <= c) left else if (b <= c) up else corner
            }
            else -> 0
        }
        line[i] = (line[i] + predicted).toByte()
    }
}

private fun unpack(line: ByteArray, samples: ByteArray, start: Int, dx: Int, columns: Int, channels: Int, depth: Int) {
    for (i in 0 until columns * channels) {
        val at = (start + i / channels * dx) * channels + i % channels
        if (depth == 16) {
            samples[2 * at] = line[2 * i]
            samples[2 * at + 1] = line[2 * i + 1]
        } else {
            val bit = i * depth
            samples[at] = (line.at(bit / 8) shr (8 - depth - bit % 8) and (1 shl depth) - 1).toByte()
        }
    }
}

private fun expanded(
    samples: ByteArray, width: Int, height: Int, depth: Int, colour: Int, palette: ByteArray?, transparent: ByteArray?
): Picture {
    val count = width * height
    if (colour == 3) {
        val data = ByteArray(4 * count)
        for (i in 0 until count) {
            val index = samples.at(i)
            for (c in 0..2) data[4 * i + c] = palette!!.getOrElse(3 * index + c) { 0 }
            data[4 * i + 3] = transparent?.getOrNull(index) ?: -1
        }
        return Picture(data, width, height, Layout.RGBA)
    }
    val layout = mapOf(0 to Layout.GREY, 2 to Layout.RGB, 4 to Layout.GREY_ALPHA, 6 to Layout.RGBA).getValue(colour)
    if (depth == 16) return Picture(samples, width, height, layout, bits = 16)
    val top = (1 shl depth) - 1
    val channels = layout.channels
    if (transparent == null || colour > 2 || transparent.size < 2 * channels) {
        if (depth < 8) for (i in samples.indices) samples[i] = (samples.at(i) * 255 / top).toByte()
        return Picture(samples, width, height, layout)
    }
    val key = List(channels) { transparent.big16(2 * it) and top }
    val data = ByteArray((channels + 1) * count)
    for (i in 0 until count) {
        for (c in 0 until channels) data[(channels + 1) * i + c] = (samples.at(channels * i + c) * 255 / top).toByte()
        val isKey = (0 until channels).all { samples.at(channels * i + it) == key[it] }
        data[(channels + 1) * i + channels] = if (isKey) 0 else -1
    }
    return Picture(data, width, height, if (colour == 0) Layout.GREY_ALPHA else Layout.RGBA)
}
