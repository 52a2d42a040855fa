// SPDX-License-Identifier: Apache-2.0
//
// NOT COMPILED IN THIS REPOSITORY'S TESTS: there is no Android SDK. JPEG decoding by Android's BitmapFactory and the network
// by LiteRT (com.google.ai.edge.litert:litert). Compare a device's answers by `skin-edge verify` before you trust them.
package skinedge.android

import android.graphics.BitmapFactory
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import skinedge.CannotAssess
import skinedge.JpegHeader
import skinedge.Layout
import skinedge.Picture

/** BitmapFactory turns nothing by EXIF; it converts a profile to sRGB unless the colour space is left open. */
fun decodeJpegByBitmapFactory(file: ByteArray, header: JpegHeader): Picture {
    if (header.channels == 4) throw CannotAssess("CMYK pictures are not decoded exactly here")
    val options = BitmapFactory.Options()
    options.inScaled = false
    options.inSampleSize = 1
    options.inPreferredConfig = android.graphics.Bitmap.Config.ARGB_8888
    val plain = skinedge.withoutExifAndProfile(file)
    val bitmap = BitmapFactory.decodeByteArray(plain, 0, plain.size, options) ?: throw CannotAssess("the picture is damaged or truncated")
    val pixels = IntArray(bitmap.width * bitmap.height)
    bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
    val channels = if (header.channels == 1) 1 else 3
    val data = ByteArray(channels * pixels.size)
    pixels.forEachIndexed { i, argb -> for (c in 0 until channels) data[channels * i + c] = (argb shr (16 - 8 * c)).toByte() }
    val picture = Picture(data, bitmap.width, bitmap.height, if (channels == 1) Layout.GREY else Layout.RGB)
    bitmap.recycle()
    return picture
}

/** The network on one thread with XNNPACK. file: the whole .tflite in a direct buffer, which must outlive the engine. */
class LiteRtEngine(file: ByteBuffer) : (ByteBuffer) -> Map<String, ByteBuffer>, AutoCloseable {
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(1).setUseXNNPACK(true))

    override fun invoke(tensor: ByteBuffer): Map<String, ByteBuffer> {
        val outputs = (0 until interpreter.outputTensorCount).associateWith {
            ByteBuffer.allocateDirect(interpreter.getOutputTensor(it).numBytes()).order(ByteOrder.nativeOrder())
        }
        interpreter.runForMultipleInputsOutputs(arrayOf(tensor), HashMap<Int, Any>(outputs))
        outputs.values.forEach { it.rewind() }
        return outputs.mapKeys { if (outputs.size == 1) "probabilities" else interpreter.getOutputTensor(it.key).name() }
    }

    override fun close() = interpreter.close()
}
