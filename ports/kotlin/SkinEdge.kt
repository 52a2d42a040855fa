// SPDX-License-Identifier: Apache-2.0
//
// A skin-edge model file and a picture -> decisions, as CONTRACT.md defines them. Kotlin for the JVM and Android, nothing
// beyond the standard library. JPEG decoding and the network are given to it (Jvm.kt, Android.kt). Whatever cannot be
// answered throws CannotAssess; nothing returns a class then.
package skinedge

import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/**
 * reasons: where the picture is beyond the model's limits; else none. answer: then what `decide` returned, for logs; it must
 * not be shown as an answer.
 */
class CannotAssess(reason: String, val reasons: List<Reason> = listOf(), val answer: Answer? = null) : Exception("cannot assess: $reason")

internal fun need(holds: Boolean, reason: String) {
    if (!holds) throw CannotAssess(reason)
}

internal fun ByteArray.at(position: Int): Int = this[position].toInt() and 255
internal fun ByteArray.text(from: Int, to: Int): String =
    if (from < 0 || from > to || to > size) "" else String(this, from, to - from, Charsets.ISO_8859_1)
internal fun ByteArray.big16(position: Int): Int = at(position) * 256 + at(position + 1)
internal fun ByteArray.big32(position: Int): Long = big16(position) * 65536L + big16(position + 2)

// ---- The model file ----

/** malignant: null where nobody said. */
class Label(val code: String, val name: String, val malignant: Boolean?)

class Threshold(val name: String, val classes: Set<String>, val threshold: Double, val borderlineWithin: Double)

/** scale: 0 where the tensor is not quantized. */
class Tensor(val name: String, val shape: List<Int>, val dtype: String, val scale: Double, val zeroPoint: Int)

/** Why a picture cannot be assessed: a code such as "too_dark", "too dark", and "more light" or nothing. */
data class Reason(val reason: String, val text: String, val remedy: String)

/** A limit. below: a smaller value of the feature fails; above: a larger one. */
class Check(val feature: String, val below: Double?, val above: Double?, val reason: Reason) {
    fun fails(value: Double) = below != null && value < below || above != null && value > above
}

/**
 * notice: to be shown with every answer. bytesUnchanged: the picture's bytes are the tensor. possible: of each label the
 * probability from which it is possible, null where the model does not say.
 */
class Model(
    val width: Int, val height: Int, val mean: List<Double>, val std: List<Double>, val input: Tensor, val bytesUnchanged: Boolean,
    val outputs: List<Tensor>, val labels: List<Label>, val thresholds: List<Threshold>, val notice: String, val maxPixels: Long,
    val checks: List<Check> = listOf(), val possible: List<Double>? = null
)

private val OWN = Any() // a value that is the model's own

private val STEPS: List<Map<String, Any>> = listOf(
    mapOf("step" to "decode", "scaled" to "none"),
    mapOf("step" to "orient", "by" to "EXIF orientation", "to" to "upright"),
    mapOf("step" to "colour", "space" to "sRGB", "bits" to 8.0, "channels" to "RGB",
        "profile" to "embedded ICC profile applied", "alpha" to "laid over white"),
    mapOf("step" to "crop", "kind" to "none"),
    mapOf("step" to "resize", "height" to OWN, "width" to OWN, "aspect" to "stretched", "kernel" to "bilinear",
        "antialias" to true, "arithmetic" to "integer", "passes" to "horizontal, then vertical"),
    mapOf("step" to "normalize", "formula" to "(pixel - mean) / std", "mean" to OWN, "std" to OWN)
)

private val FEATURES = listOf("luma", "black", "white", "clipped", "red_green", "blue_green", "contrast", "detail", "ridges")
private const val OUTLIER_SCORE = "outlier_score"

private val RULES = mapOf(
    "score" to "sum of the probabilities of a threshold's classes, in the order of labels, float64",
    "refer" to "score >= threshold",
    "below" to "score < threshold",
    "borderline" to "|score - threshold| < borderline_within",
    "ties" to "the first label"
)

/** Reads and checks a whole .tflite file, its seal included. */
fun openModel(file: ByteArray): Model {
    val (network, labels, raw) = archive(file)
    val contract = Json(String(raw, Charsets.UTF_8)).whole().obj()
    need(contract["format"] == "skin-edge-model", "the model is no .tflite file of skin-edge")
    val version = contract["format_version"]
    need(version == 4.0 || version == 6.0, "the model's contract is of a version that is not known here")
    need(isSealed(network, labels, raw, contract["seal"]), "the model was changed since it was sealed: copy it anew")
    need("metadata" !in contract, "the model asks for what is known of the patient")
    val steps = contract["preprocessing"].list().map { it.obj() }
    checkSteps(steps)
    val (height, width) = listOf("height", "width").map { steps[4][it].whole(1, 4096) }
    val (mean, std) = listOf("mean", "std").map { name -> steps[5][name].list().map { it.number() } }
    well(mean.size == 3 && std.size == 3 && std.all { it > 0 })
    val input = tensor(contract["input"].obj() + ("name" to "image"))
    val bytes = contract["input"].obj()["bytes"]
    well(input.shape == listOf(1, height, width, 3))
    well(bytes == if (input.dtype == "uint8" && bytes == "unchanged") "unchanged" else if (input.scale > 0) "quantized" else "normalized")
    val classes = contract["labels"].list().map { it.obj() }.map { Label(it["code"].string(), it["name"].string(), it.flag("malignant")) }
    val codes = classes.map { it.code }
    well(codes.isNotEmpty() && codes.toSet().size == codes.size)
    well(codes.joinToString("") { "$it\n" } == String(labels, Charsets.UTF_8))
    val outputs = contract["outputs"].list().map { tensor(it.obj()) }
    well(outputs.find { it.name == "probabilities" }?.shape == listOf(1, codes.size))
    val thresholds = contract["thresholds"].list().map { it.obj() }.map { row ->
        val counted = row["classes"].list().map { it.string() }.toSet()
        well(codes.containsAll(counted) && row["threshold"].number() in 0.0..1.0 && row["borderline_within"].number() >= 0)
        Threshold(row["name"].string(), counted, row["threshold"].number(), row["borderline_within"].number())
    }
    val rules = contract["decisions"].obj()
    well(RULES.all { (name, rule) -> rules[name] == rule })
    val most = contract["limits"].obj()["max_pixels"].number().toLong()
    well(most >= 1)
    well(outputs.all { it.name != OUTLIER_SCORE || it.shape == listOf(1, 1) })
    val checks = if (version == 6.0) checks(contract, outputs) else listOf()
    val possible = if (version == 6.0 && "possible" in contract) contract["possible"].obj()["thresholds"].list().map { it.number() } else null
    well(possible == null || possible.size == codes.size)
    return Model(width, height, mean, std, input, bytes == "unchanged", outputs, classes, thresholds, contract["notice"].string(), most,
        checks, possible)
}

private fun checks(contract: Map<String, Any?>, outputs: List<Tensor>): List<Check> {
    if ("assessment" !in contract) return listOf()
    val assessment = contract["assessment"].obj()
    need(assessment["version"] == 1.0, "the model's assessment is of a version that is not known here")
    return assessment["checks"].list().map { it.obj() }.map { row ->
        val (below, above) = listOf("below", "above").map { name -> row[name]?.number() }
        val feature = row["feature"].string()
        val isKnown = if (feature == OUTLIER_SCORE) outputs.any { it.name == OUTLIER_SCORE } else feature in FEATURES
        need(isKnown && (below != null || above != null), "the model's assessment is malformed or unknown here")
        val remedy = row["remedy"] as? String ?: throw malformed()
        Check(feature, below, above, Reason(row["reason"].string(), row["text"].string(), remedy))
    }
}

private fun well(holds: Boolean) = need(holds, "the model's metadata.json is malformed or unknown here")
private fun malformed() = CannotAssess("the model's metadata.json is malformed or unknown here")
private fun Any?.obj(): Map<String, Any?> = (this as? Map<*, *>)?.mapKeys { it.key as String } ?: throw malformed()
private fun Any?.list(): List<Any?> = this as? List<*> ?: throw malformed()
private fun Any?.string(): String = (this as? String)?.takeIf { it.isNotEmpty() } ?: throw malformed()
private fun Any?.number(): Double = this as? Double ?: throw malformed()
private fun Any?.whole(least: Int, most: Int): Int =
    number().takeIf { it == floor(it) && it >= least && it <= most }?.toInt() ?: throw malformed()
private fun Map<String, Any?>.flag(name: String): Boolean? {
    well(name in this && (this[name] == null || this[name] is Boolean))
    return this[name] as Boolean?
}

private fun tensor(fields: Map<String, Any?>): Tensor {
    val dtype = fields["dtype"]
    well(dtype in listOf("uint8", "int8", "float32"))
    val quantized = dtype != "float32" || "scale" in fields
    val scale = if (quantized) fields["scale"].number() else 0.0
    well(!quantized || scale > 0)
    val zeroPoint = if (quantized) fields["zero_point"].whole(-128, 255) else 0
    return Tensor(fields["name"].string(), fields["shape"].list().map { it.whole(1, 1 shl 20) }, dtype as String, scale, zeroPoint)
}

private fun checkSteps(steps: List<Map<String, Any?>>) {
    val reason = "the model asks for preprocessing that is not known here"
    need(steps.size == STEPS.size, reason)
    for ((step, own) in steps zip STEPS) {
        need(step.keys - "note" == own.keys && own.all { (name, value) -> value === OWN || step[name] == value }, reason)
    }
}

/** (network, labels.txt, metadata.json). */
private fun archive(file: ByteArray): Triple<ByteArray, ByteArray, ByteArray> {
    val no = CannotAssess("the model is no .tflite file of skin-edge, or is cut off")
    val end = file.size - 22
    if (end < 8 || file.text(4, 8) != "TFL3" || file.text(end, end + 4) != "PK\u0005\u0006") throw no
    val read = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN)
    fun short(position: Int) = read.getShort(position).toInt() and 0xffff
    val found = HashMap<String, ByteArray>()
    var start = file.size
    try {
        var at = read.getInt(end + 16)
        repeat(short(end + 10)) {
            if (file.text(at, at + 4) != "PK\u0001\u0002") throw no
            val name = file.text(at + 46, at + 46 + short(at + 28))
            val local = read.getInt(at + 42)
            val size = read.getInt(at + 24)
            val from = local + 30 + short(local + 26) + short(local + 28)
            val plain = short(at + 10) == 0 && short(at + 8) and 1 == 0
            if (file.text(local, local + 4) != "PK\u0003\u0004" || size < 0 || size > end - from || name in found || !plain) throw no
            found[name] = file.copyOfRange(from, from + size)
            start = min(start, local)
            at += 46 + short(at + 28) + short(at + 30) + short(at + 32)
        }
    } catch (error: IndexOutOfBoundsException) {
        throw no
    }
    return Triple(file.copyOf(start), found["labels.txt"] ?: throw no, found["metadata.json"] ?: throw no)
}

private fun isSealed(network: ByteArray, labels: ByteArray, raw: ByteArray, seal: Any?): Boolean {
    if (seal !is String || !Regex("[0-9a-f]{64}").matches(seal)) return false
    val blank = String(raw, Charsets.ISO_8859_1).replace(seal, "0".repeat(64)).toByteArray(Charsets.ISO_8859_1)
    return sha256(network, labels, blank) == seal
}

/** Of byte arrays one after the other, in hexadecimal. */
fun sha256(vararg parts: ByteArray): String {
    val digest = MessageDigest.getInstance("SHA-256")
    parts.forEach(digest::update)
    return digest.digest().joinToString("") { "%02x".format(it.toInt() and 255) }
}

/** A JSON text -> Map, List, String, Double, Boolean and null. org.json is on Android only. */
internal class Json(private val text: String) {
    private var at = 0

    fun whole(): Any? {
        val value = value(0)
        space()
        if (at != text.length) throw malformed()
        return value
    }

    private fun space() {
        while (at < text.length && text[at] in " \t\r\n") at++
    }

    private fun next(): Char = if (at < text.length) text[at++] else throw malformed()

    private fun take(word: String): Boolean = text.startsWith(word, at).also { if (it) at += word.length }

    private fun value(depth: Int): Any? {
        if (depth > 32) throw malformed()
        space()
        return when {
            take("{") -> members(depth)
            take("[") -> items(depth)
            take("\"") -> string()
            take("true") -> true
            take("false") -> false
            take("null") -> null
            else -> {
                val match = NUMBER.find(text, at)?.takeIf { it.range.first == at } ?: throw malformed()
                at = match.range.last + 1
                match.value.toDouble().also { if (it.isInfinite()) throw malformed() } // whatever the system's language
            }
        }
    }

    private fun items(depth: Int): List<Any?> {
        val items = ArrayList<Any?>()
        space()
        if (take("]")) return items
        while (true) {
            items.add(value(depth + 1))
            space()
            if (take("]")) return items
            if (!take(",")) throw malformed()
        }
    }

    private fun members(depth: Int): Map<String, Any?> {
        val members = LinkedHashMap<String, Any?>()
        space()
        if (take("}")) return members
        while (true) {
            space()
            if (!take("\"")) throw malformed()
            val name = string()
            space()
            if (!take(":") || name in members) throw malformed()
            members[name] = value(depth + 1)
            space()
            if (take("}")) return members
            if (!take(",")) throw malformed()
        }
    }

    private fun string(): String {
        val out = StringBuilder()
        while (true) {
            val c = next()
            when {
                c == '"' -> return out.toString()
                c < ' ' -> throw malformed()
                c != '\\' -> out.append(c)
                else -> when (val escape = next()) {
                    '"', '\\', '/' -> out.append(escape)
                    'b', 'f', 'n', 'r', 't' -> out.append("\b\u000c\n\r\t"["bfnrt".indexOf(escape)])
                    'u' -> {
                        if (at + 4 > text.length) throw malformed()
                        out.append((text.substring(at, at + 4).toIntOrNull(16) ?: throw malformed()).toChar())
                        at += 4
                    }
                    else -> throw malformed()
                }
            }
        }
    }

    private companion object {
        val NUMBER = Regex("-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?")
    }
}

// ---- What a picture's file says ----

internal fun isPng(file: ByteArray) = file.text(0, 8) == "\u0089PNG\r\n\u001a\n"
internal fun isJpeg(file: ByteArray) = file.text(0, 3) == "\u00ff\u00d8\u00ff"

/** The EXIF orientation of a block in TIFF form, with or without "Exif\0\0" before it: 1 to 8. */
fun exifOrientation(exif: ByteArray): Int {
    val block = if (exif.text(0, 6) == "Exif\u0000\u0000") exif.copyOfRange(6, exif.size) else exif
    val order = mapOf("II" to ByteOrder.LITTLE_ENDIAN, "MM" to ByteOrder.BIG_ENDIAN)[block.text(0, 2)] ?: return 1
    val read = ByteBuffer.wrap(block).order(order)
    try {
        if (read.getShort(2).toInt() != 42) return 1
        var entry = read.getInt(4) + 2
        for (count in 1..(read.getShort(entry - 2).toInt() and 0xffff)) {
            read.getInt(entry + 8) // a whole entry
            if (read.getShort(entry).toInt() == 0x0112) {
                val type = read.getShort(entry + 2).toInt()
                if (read.getInt(entry + 4) != 1 || type != 3 && type != 4) return 1
                val value = if (type == 3) read.getShort(entry + 8).toInt() else read.getInt(entry + 8)
                return if (value in 1..8) value else 1
            }
            entry += 12
        }
    } catch (error: IndexOutOfBoundsException) { // it ends too early
    }
    return 1
}

/** A JPEG's segment before its pixels: from the marker to behind it. */
private class Segment(val marker: Int, val from: Int, val to: Int)

private fun segments(file: ByteArray): List<Segment> {
    val found = ArrayList<Segment>()
    var at = 2
    while (at + 4 <= file.size && file.at(at) == 0xff) {
        val marker = file.at(at + 1)
        if (marker == 0xff) {
            at++ // a fill byte
            continue
        }
        val to = at + 2 + file.big16(at + 2)
        if (marker == 0xd9 || to > file.size) break
        found.add(Segment(marker, at, to))
        if (marker == 0xda) break // the pixels follow
        at = to
    }
    return found
}

internal class Chunk(val name: String, val from: Int, val to: Int, val isWhole: Boolean)

/** A PNG's chunks: where their data lie, and whether the checksum holds. */
internal fun chunks(file: ByteArray): List<Chunk> {
    val found = ArrayList<Chunk>()
    var at = 8
    while (at + 12 <= file.size) {
        val length = file.big32(at)
        if (length > file.size - at - 12) break
        val to = at + 8 + length.toInt()
        val crc = java.util.zip.CRC32()
        crc.update(file, at + 4, to - at - 4)
        found.add(Chunk(file.text(at + 4, at + 8), at + 8, to, crc.value == file.big32(to)))
        at = to + 4
    }
    return found
}

/** The EXIF orientation of a JPEG or PNG file: 1 to 8, 1 where there is none. */
fun orientationOf(file: ByteArray): Int {
    val block = if (isPng(file)) {
        chunks(file).find { it.name == "eXIf" }?.let { file.copyOfRange(it.from, it.to) }
    } else {
        segments(file).takeIf { isJpeg(file) }
            ?.find { it.marker == 0xe1 && file.text(it.from + 4, min(it.to, it.from + 10)) == "Exif\u0000\u0000" }
            ?.let { file.copyOfRange(it.from + 4, it.to) }
    }
    return exifOrientation(block ?: return 1)
}

/** isYcc: the colours are YCbCr (3 channels) or YCCK (4), as libjpeg decides it. */
class JpegHeader(val width: Int, val height: Int, val bits: Int, val channels: Int, val isYcc: Boolean)

/**
 * Width, height, bits and channels of a JPEG, from its header. Refuses a file without an end: decoders fill up what is
 * missing, and some do not say so.
 */
fun jpegHeader(file: ByteArray): JpegHeader {
    val damaged = CannotAssess("the picture is damaged or truncated")
    val segments = segments(file)
    val frame = segments.find { it.marker in 0xc0..0xcf && it.marker !in listOf(0xc4, 0xc8, 0xcc) } ?: throw damaged
    val pixels = segments.last().takeIf { it.marker == 0xda } ?: throw damaged
    if (frame.to - frame.from < 10 || (pixels.to until file.size - 1).none { file.at(it) == 0xff && file.at(it + 1) == 0xd9 }) throw damaged
    val at = frame.from + 4
    val channels = file.at(at + 5)
    if (frame.to < at + 6 + 3 * channels) throw damaged
    val isJfif = segments.any { it.marker == 0xe0 && file.text(it.from + 4, it.from + 9) == "JFIF\u0000" }
    val adobe = segments.find { it.marker == 0xee && it.to - it.from >= 16 && file.text(it.from + 4, it.from + 9) == "Adobe" }
    val transform = adobe?.let { file.at(it.from + 15) }
    val ids = (0 until channels).map { file.at(at + 6 + 3 * it) }
    val isYcc = when {
        channels == 4 -> transform == 2
        isJfif -> true
        transform != null -> transform != 0
        else -> ids != listOf(0x52, 0x47, 0x42) // "RGB"
    }
    return JpegHeader(file.big16(at + 3), file.big16(at + 1), file.at(at), channels, isYcc)
}

/** A JPEG without the segments that a platform would act upon: EXIF, XMP and ICC profile. This port reads them itself. */
fun withoutExifAndProfile(file: ByteArray): ByteArray {
    val kept = segments(file).filter { it.marker != 0xe1 && it.marker != 0xe2 }
    val parts = kept.map { file.copyOfRange(it.from, it.to) }
    return (listOf(file.copyOf(2)) + parts + listOf(file.copyOfRange(kept.last().to, file.size))).reduce(ByteArray::plus)
}

/** The ICC profile of a JPEG, null where there is none or a part is missing. */
fun jpegProfile(file: ByteArray): ByteArray? {
    val parts = segments(file).filter { it.marker == 0xe2 && it.to - it.from >= 18 && file.text(it.from + 4, it.from + 16) == "ICC_PROFILE\u0000" }
    val count = file.at((parts.firstOrNull() ?: return null).from + 17)
    val ordered = (1..count).map { number -> parts.find { file.at(it.from + 16) == number } ?: return null }
    return ordered.map { file.copyOfRange(it.from + 18, it.to) }.reduce(ByteArray::plus)
}

// ---- Pixels ----

/** CMYK as in an Adobe JPEG, 255 without ink. Alpha is straight, not premultiplied. */
enum class Layout(val channels: Int) { GREY(1), GREY_ALPHA(2), RGB(3), RGBA(4), BGR(3), BGRA(4), CMYK(4) }

/** A picture as it was decoded, before it is turned. data: row after row without gaps; of 16 bits the high byte first. */
class Picture(val data: ByteArray, val width: Int, val height: Int, val layout: Layout, val orientation: Int = 1, val bits: Int = 8)

/** Upright, 3 bytes a pixel. */
class Rgb(val data: ByteArray, val width: Int, val height: Int)

private fun overWhite(c: Int, alpha: Int): Int = (c * alpha + 255 * (255 - alpha) + 127) / 255

/** A decoded picture -> its upright RGB bytes. */
fun toUpright(picture: Picture): Rgb {
    val (width, height) = listOf(picture.width, picture.height)
    val data = picture.data
    val step = picture.layout.channels * picture.bits / 8
    need(width > 0 && height > 0 && data.size.toLong() == width.toLong() * height * step, "no picture, or an unknown layout")
    val exchanged = picture.orientation in 5..8
    val (columns, rows) = if (exchanged) listOf(height, width) else listOf(width, height)
    val out = ByteArray(3 * width * height)
    val wide = picture.bits == 16
    var o = 0
    for (y in 0 until rows) for (x in 0 until columns) {
        val pixel = when (picture.orientation) { // where the upright (x, y) is stored
            2 -> y * width + width - 1 - x
            3 -> (height - 1 - y) * width + width - 1 - x
            4 -> (height - 1 - y) * width + x
            5 -> x * width + y
            6 -> (height - 1 - x) * width + y
            7 -> (height - 1 - x) * width + width - 1 - y
            8 -> x * width + width - 1 - y
            else -> y * width + x
        }
        val i = pixel * step
        fun sample(c: Int) = if (wide) data.at(i + 2 * c) else data.at(i + c) // of 16 bits the high byte
        for (c in 0..2) out[o++] = when (picture.layout) {
            Layout.GREY -> if (wide) (data.big16(i) + 128) / 257 else data.at(i)
            Layout.GREY_ALPHA -> overWhite(sample(0), sample(1))
            Layout.RGB -> sample(c)
            Layout.RGBA -> overWhite(sample(c), sample(3))
            Layout.BGR -> sample(2 - c)
            Layout.BGRA -> overWhite(sample(2 - c), sample(3))
            Layout.CMYK -> (sample(c) * sample(3) + 127) / 255
        }.toByte()
    }
    return Rgb(out, columns, rows)
}

/** The weights k of one output, from sample `first` on: CONTRACT.md, section 5. */
private class Weights(val first: Int, val k: IntArray)

private fun weights(n: Int, target: Int): List<Weights> = List(target) { i ->
    val most = 2L * max(n, target)
    val centre = (2L * i + 1) * n
    val before = centre - most - target
    val first = if (before < 0) 0 else (before / (2L * target) + 1).toInt()
    val v = (first until n).asSequence().map { most - abs((2L * it + 1) * target - centre) }.takeWhile { it > 0 }.toList()
    val total = v.sum()
    Weights(first, IntArray(v.size) { ((v[it] * (1 shl 23) + total) / (2 * total)).toInt() })
}

/** One pass. Samples of a line of n pixels are `step` apart, lines `stride`; likewise in the result. */
private fun pass(source: ByteArray, n: Int, target: Int, lines: Int, step: Int, stride: Int, outStep: Int, outStride: Int): ByteArray {
    val out = ByteArray(3 * target * lines)
    val all = weights(n, target)
    for (line in 0 until lines) for (i in 0 until target) for (c in 0..2) {
        val k = all[i].k
        var at = line * stride + all[i].first * step + c
        var sum = 1 shl 21
        for (weight in k) {
            sum += weight * (source[at].toInt() and 255)
            at += step
        }
        out[line * outStride + i * outStep + c] = min(255, sum shr 22).toByte()
    }
    return out
}

/** Upright RGB -> 3 bytes a pixel of the model's input size. Refuses what is over its limits. */
fun resize(model: Model, picture: Rgb): ByteArray = resize(picture, model.width, model.height, model.maxPixels)

internal fun resize(picture: Rgb, width: Int, height: Int, maxPixels: Long): ByteArray {
    need(picture.width.toLong() * picture.height <= maxPixels, "the picture has more pixels than the limit")
    val across = pass(picture.data, picture.width, width, picture.height, 3, 3 * picture.width, 3, 3 * width)
    return pass(across, picture.height, height, width, 3 * width, 3, 3 * width, 3)
}

// ---- Tensors and decisions ----

/** RGB bytes -> the input tensor, in the machine's byte order. */
fun toTensor(model: Model, rgb: ByteArray): ByteBuffer = toTensor(model.input, model.bytesUnchanged, model.mean, model.std, rgb)

internal fun toTensor(input: Tensor, unchanged: Boolean, mean: List<Double>, std: List<Double>, rgb: ByteArray): ByteBuffer {
    val buffer = ByteBuffer.allocateDirect(rgb.size * if (input.dtype == "float32") 4 else 1).order(ByteOrder.nativeOrder())
    val least = if (input.dtype == "int8") -128 else 0
    rgb.forEachIndexed { i, value ->
        val byte = value.toInt() and 255
        val real = ((byte - mean[i % 3]) / std[i % 3]).toFloat()
        if (unchanged) {
            buffer.put(value)
        } else if (input.dtype == "float32") {
            buffer.putFloat(real)
        } else {
            val steps = real / input.scale + input.zeroPoint
            val nearest = if (abs(steps - (byte + least)) <= 0.501) byte + least else floor(steps + 0.5).toInt()
            buffer.put(max(least, min(least + 255, nearest)).toByte())
        }
    }
    buffer.rewind()
    return buffer
}

/** The bytes of the output tensor of that name, in the machine's byte order -> real numbers. */
fun toReal(model: Model, name: String, values: ByteBuffer): FloatArray {
    val tensor = model.outputs.first { it.name == name }
    val read = values.duplicate().order(ByteOrder.nativeOrder())
    return FloatArray(read.remaining() / if (tensor.dtype == "float32") 4 else 1) {
        if (tensor.dtype == "float32") read.getFloat() else {
            val integer = read.get().toInt().let { if (tensor.dtype == "uint8") it and 255 else it }
            (integer - tensor.zeroPoint).toFloat() * tensor.scale.toFloat()
        }
    }
}

/** refer: score >= threshold. Otherwise below, which is no all-clear. borderline: to be shown as such. */
class Decision(val name: String, val score: Double, val threshold: Double, val refer: Boolean, val borderline: Boolean)

/**
 * assessable: where false, "cannot assess" and the reasons are the answer; the rest must not be shown. possible: the classes
 * that it may well be, null where the model does not say. features: what was measured, empty where the model has no limits.
 */
class Answer(
    val label: Label, val probabilities: FloatArray, val decisions: List<Decision>, val possible: List<Label>? = null,
    val reasons: List<Reason> = listOf(), val features: Map<String, Double> = mapOf()
) {
    val assessable: Boolean get() = reasons.isEmpty()
}

/** RGB bytes of the model's input size -> luma, black, ..., whole numbers: CONTRACT.md, section 12. */
fun measure(model: Model, rgb: ByteArray): Map<String, Double> = measure(rgb, model.width, model.height).mapValues { it.value.toDouble() }

internal fun measure(rgb: ByteArray, width: Int, height: Int): Map<String, Long> {
    val n = width.toLong() * height
    val green = IntArray(width * height) { rgb.at(3 * it + 1) }
    val sums = LongArray(3)
    val histogram = IntArray(256)
    var (black, white, clipped) = listOf(0L, 0L, 0L)
    for (i in green.indices) {
        val (r, g, b) = Triple(rgb.at(3 * i), green[i], rgb.at(3 * i + 2))
        sums[0] += r.toLong()
        sums[1] += g.toLong()
        sums[2] += b.toLong()
        histogram[g]++
        if (g < 24) black++
        if (min(r, min(g, b)) >= 250) white++
        if (max(r, max(g, b)) >= 254) clipped++
    }
    val (reds, greens, blues) = listOf(sums[0], sums[1], sums[2])
    val total = reds + greens + blues + 1
    fun share(count: Long) = Math.floorDiv(10000 * count, n)
    fun percentile(percent: Long): Long {
        var (v, below) = Pair(0, histogram[0].toLong())
        while (100 * below < percent * n) below += histogram[++v]
        return v.toLong()
    }
    val rows = Lines(green, height, width, width, 1)
    val columns = Lines(green, width, height, 1, width)
    return linkedMapOf(
        "luma" to Math.floorDiv(77 * reds + 150 * greens + 29 * blues, n),
        "black" to share(black),
        "white" to share(white),
        "clipped" to share(clipped),
        "red_green" to Math.floorDiv(1000 * (reds - greens), total),
        "blue_green" to Math.floorDiv(1000 * (blues - greens), total),
        "contrast" to percentile(95) - percentile(5),
        "detail" to min(rows.detail(n), columns.detail(n)),
        "ridges" to share(rows.ridges + columns.ridges)
    )
}

/**
 * Of lines of pixels, which are `step` apart in a line and `stride` from line to line: the sums of the differences between
 * pixels 1 and 4 apart, and how many are darker by more than 20 than those 3 before and 3 behind.
 */
private class Lines(green: IntArray, lines: Int, length: Int, stride: Int, step: Int) {
    private var near = 0L
    private var far = 0L
    var ridges = 0L

    init {
        for (line in 0 until lines) for (i in 0 until length) {
            val at = line * stride + i * step
            if (i + 1 < length) near += abs(green[at + step] - green[at])
            if (i + 4 < length) far += abs(green[at + 4 * step] - green[at])
            if (i >= 3 && i + 3 < length && min(green[at - 3 * step], green[at + 3 * step]) - green[at] > 20) ridges++
        }
    }

    fun detail(n: Long) = 1000 * near / (far + n / 8 + 1)
}

/** The network's output outlier_score -> the feature of that name. */
fun outlierScore(model: Model, values: ByteBuffer): Map<String, Double> {
    val score = toReal(model, OUTLIER_SCORE, values)[0].toDouble()
    need(!score.isNaN() && !score.isInfinite(), "the network's outlier_score is not finite")
    return mapOf(OUTLIER_SCORE to score)
}

/** Features -> why the picture cannot be assessed; nothing where it can. */
fun reasonsOf(model: Model, features: Map<String, Double>): List<Reason> = model.checks.filter {
    it.fails(features[it.feature] ?: throw CannotAssess("the model has limits, and the picture was not measured"))
}.map { it.reason }.distinctBy { it.reason }

/** "too dark (more light); ...". */
fun inWords(reasons: List<Reason>): String =
    reasons.joinToString("; ") { if (it.remedy.isEmpty()) it.text else "${it.text} (${it.remedy})" }

/** Probabilities in the order of the labels -> class and decisions. features: of the same picture; a model without limits needs none. */
fun decide(model: Model, probabilities: FloatArray, features: Map<String, Double> = mapOf()): Answer {
    val valid = probabilities.size == model.labels.size && probabilities.all { it.toDouble() >= -0.000001 && it.toDouble() <= 1.000001 }
    need(valid, "the network did not give probabilities")
    var best = 0
    probabilities.forEachIndexed { i, p -> if (p > probabilities[best]) best = i }
    val decisions = model.thresholds.map { row ->
        var score = 0.0
        model.labels.forEachIndexed { i, label -> if (label.code in row.classes) score += probabilities[i].toDouble() }
        Decision(row.name, score, row.threshold, score >= row.threshold, abs(score - row.threshold) < row.borderlineWithin)
    }
    val possible = model.possible?.let { limits ->
        model.labels.filterIndexed { i, _ -> i == best || probabilities[i].toDouble() >= limits[i] }
    }
    return Answer(model.labels[best], probabilities, decisions, possible, reasonsOf(model, features), features)
}

/**
 * The bytes of a JPEG or PNG file -> upright RGB.
 *
 * decodeJpeg: at full size, as stored, neither turned nor converted by a profile; Jvm.kt and Android.kt have one.
 */
fun decode(model: Model, file: ByteArray, decodeJpeg: (ByteArray, JpegHeader) -> Picture): Rgb {
    val picture: Picture
    val profile: ByteArray?
    if (isPng(file)) {
        val png = decodePng(file, model.maxPixels)
        picture = png.picture
        profile = png.profile
    } else {
        need(isJpeg(file), "neither JPEG nor PNG")
        val header = jpegHeader(file)
        need(header.width.toLong() * header.height <= model.maxPixels, "the picture has more pixels than the limit")
        need(header.bits == 8 && header.width > 0 && header.height > 0, "no picture of 8 bits")
        profile = if (header.channels == 4) null else jpegProfile(file)
        picture = try {
            decodeJpeg(file, header)
        } catch (error: CannotAssess) {
            throw error
        } catch (error: Exception) {
            throw CannotAssess("the picture is damaged or truncated")
        }
    }
    val upright = toUpright(Picture(picture.data, picture.width, picture.height, picture.layout, orientationOf(file), picture.bits))
    if (profile != null) applyProfile(upright.data, profile, picture.layout == Layout.GREY)
    return upright
}

/**
 * The bytes of a JPEG or PNG file -> its answer.
 *
 * engine: the input tensor -> name of an output of the network to its bytes. Throws CannotAssess, with its reasons, where the
 * picture is beyond the model's limits, unless assessAnything is set: then say with the answer that it is none.
 */
fun assess(
    model: Model, file: ByteArray, decodeJpeg: (ByteArray, JpegHeader) -> Picture, engine: (ByteBuffer) -> Map<String, ByteBuffer>,
    assessAnything: Boolean = false
): Answer {
    val rgb = resize(model, decode(model, file, decodeJpeg))
    val outputs = engine(toTensor(model, rgb))
    fun output(name: String) = outputs[name] ?: throw CannotAssess("the network has no output $name")
    var features = if (model.checks.isEmpty()) mapOf() else measure(model, rgb)
    if (features.isNotEmpty() && model.outputs.any { it.name == OUTLIER_SCORE }) features += outlierScore(model, output(OUTLIER_SCORE))
    val answer = decide(model, toReal(model, "probabilities", output("probabilities")), features)
    if (!answer.assessable && !assessAnything) throw CannotAssess(inWords(answer.reasons), answer.reasons, answer)
    return answer
}
