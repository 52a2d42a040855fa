// Answers test_ports.py's questions, one a line, with ports/kotlin.
package skinedge

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Base64

private lateinit var model: Model
private val LAYOUTS = listOf(Layout.GREY, Layout.GREY_ALPHA, Layout.RGB, Layout.RGBA, Layout.BGR, Layout.BGRA, Layout.CMYK,
    Layout.GREY, Layout.GREY_ALPHA, Layout.RGB, Layout.RGBA)

private fun bytesOf(path: String) = File(path).readBytes()

private fun swapped(bytes: ByteArray) = ByteArray(bytes.size) { bytes[it xor 1] }

private fun resized(words: List<String>): String {
    val (layout, orientation, width, height) = words.map { it.toIntOrNull() ?: 0 }
    val wide = layout >= 7
    val bytes = bytesOf(words[6]).let { if (wide) swapped(it) else it }
    val upright = toUpright(Picture(bytes, width, height, LAYOUTS[layout], orientation, if (wide) 16 else 8))
    File(words[7]).writeBytes(resize(upright, words[4].toInt(), words[5].toInt(), 1000000))
    return "ok"
}

private fun decided(words: List<String>): String {
    val values = words.map { it.replace("inf", "Infinity").replace("nan", "NaN").toFloat() }
    val answer = decide(without(model), values.toFloatArray())
    return (listOf(answer.label.code) + answer.decisions.flatMap {
        listOf(it.name, it.score, if (it.refer) "refer" else "below", if (it.borderline) 1 else 0)
    }).joinToString(" ")
}

/** The decisions alone. */
private fun without(own: Model) = Model(own.width, own.height, own.mean, own.std, own.input, own.bytesUnchanged, own.outputs, own.labels,
    own.thresholds, own.notice, own.maxPixels)

/** Probabilities, then features. */
private fun answered(words: List<String>): String {
    val count = model.labels.size
    val names = measure(ByteArray(3), 1, 1).keys + "outlier_score"
    val features = names.zip(words.drop(count).map { it.toDouble() }).toMap()
    val answer = decide(model, words.take(count).map { it.toFloat() }.toFloatArray(), features)
    val said = if (answer.assessable) "" else "cannot assess: ${inWords(answer.reasons)}"
    return (listOf(answer.label.code, if (answer.assessable) 1 else 0, "possible:") + (answer.possible ?: listOf()).map { it.code } +
        listOf("reasons:") + answer.reasons.map { it.reason } + said).joinToString(" ")
}

/** A whole answer, of a network that gives these. */
private fun assessed(words: List<String>): String {
    fun floats(values: List<String>): ByteBuffer {
        val buffer = ByteBuffer.allocate(4 * values.size).order(ByteOrder.nativeOrder())
        values.forEach { buffer.putFloat(it.toFloat()) }
        buffer.rewind()
        return buffer
    }
    val outputs = mapOf("probabilities" to floats(words.drop(3)), "outlier_score" to floats(listOf(words[2])))
    fun codes(reasons: List<Reason>) = reasons.joinToString(",") { it.reason }
    return try {
        val answer = assess(model, bytesOf(words[0]), ::decodeJpegByImageIo, { outputs }, words[1] == "1")
        "${answer.label.code} ${answer.assessable} ${codes(answer.reasons)}"
    } catch (error: CannotAssess) {
        "${codes(error.reasons)} ${(error.answer ?: throw error).assessable} ${error.message}"
    }
}

private fun scored(word: String): String {
    val isFloat = model.outputs.first { it.name == "outlier_score" }.dtype == "float32"
    val value = ByteBuffer.allocate(if (isFloat) 4 else 1).order(ByteOrder.nativeOrder())
    if (isFloat) value.putFloat(word.replace("inf", "Infinity").replace("nan", "NaN").toFloat()) else value.put(word.toInt().toByte())
    value.rewind()
    return outlierScore(model, value).getValue("outlier_score").toString()
}

private fun tensor(words: List<String>): String {
    val dtype = listOf("uint8", "int8", "float32")[words[0].toInt()]
    val input = Tensor("image", listOf(), dtype, words[1].toDouble(), words[2].toInt())
    val buffer = toTensor(input, false, model.mean, model.std, ByteArray(768) { (it / 3).toByte() })
    File(words[3]).writeBytes(ByteArray(buffer.remaining()).also { buffer.get(it) })
    return "ok"
}

private fun picture(path: String): String {
    val upright = decode(model, bytesOf(path), ::decodeJpegByImageIo)
    val rgb = resize(model, upright)
    val base64 = Base64.getEncoder().encodeToString(rgb)
    return """{"upright": {"width": ${upright.width}, "height": ${upright.height}, "sha256": "${sha256(upright.data)}"},""" +
        """ "input": {"sha256": "${sha256(rgb)}", "base64": "$base64"}}"""
}

private fun opened(path: String): String {
    model = openModel(bytesOf(path))
    val (label, notice) = Pair(model.labels[0], model.notice.replace('\t', ' '))
    return listOf("ok", model.height, model.width, model.labels.size, model.thresholds.size, label.code,
        if (label.malignant == true) 1 else 0, label.name, notice).joinToString(" ")
}

private fun real(words: List<String>): String { // a quantized output
    val values = ByteBuffer.wrap(words.map { it.toInt().toByte() }.toByteArray()).order(ByteOrder.nativeOrder())
    return toReal(model, "probabilities", values).joinToString(" ")
}

fun main() {
    val out = java.io.PrintStream(java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8")
    while (true) {
        val words = (readLine() ?: return).split(" ")
        val rest = words.drop(1)
        out.println(try {
            when (words[0]) {
                "open" -> opened(rest[0])
                "resize" -> resized(rest)
                "orientation" -> orientationOf(bytesOf(rest[0]))
                "exif" -> exifOrientation(bytesOf(rest[0]))
                "profile" -> if (profileIsSkipped(bytesOf(rest[1]), rest[0] == "1")) 1 else 0
                "decide" -> decided(rest)
                "answer" -> answered(rest)
                "measure" -> measure(bytesOf(rest[2]), rest[0].toInt(), rest[1].toInt()).values.joinToString(" ")
                "score" -> scored(rest[0])
                "assess" -> assessed(rest)
                "tensor" -> tensor(rest)
                "real" -> real(rest)
                "number" -> Json(rest[0]).whole()
                "picture" -> picture(rest[0])
                else -> throw IllegalArgumentException(words[0])
            }
        } catch (error: CannotAssess) {
            error.message
        })
    }
}
