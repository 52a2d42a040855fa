// SPDX-License-Identifier: Apache-2.0
//
// JPEG decoding by the JVM's ImageIO, whose decoder is libjpeg's. Its own colour conversion, which applies profiles in its
// way and knows no CMYK, is gone around: the samples are read as they are stored.
package skinedge

import java.io.ByteArrayInputStream
import javax.imageio.ImageIO

fun decodeJpegByImageIo(file: ByteArray, header: JpegHeader): Picture {
    val reader = ImageIO.getImageReadersByFormatName("jpeg").next()
    try {
        reader.input = ImageIO.createImageInputStream(ByteArrayInputStream(file))
        val raster = reader.readRaster(0, null)
        val channels = raster.numBands
        need(channels == header.channels && channels in listOf(1, 3, 4), "the picture is damaged or truncated")
        val data = ByteArray(raster.width * raster.height * channels)
        val line = IntArray(raster.width * channels)
        for (y in 0 until raster.height) {
            raster.getPixels(0, y, raster.width, 1, line)
            for (i in line.indices) data[y * line.size + i] = line[i].toByte()
        }
        if (header.isYcc && channels >= 3) toRgb(data, channels)
        val layout = mapOf(1 to Layout.GREY, 3 to Layout.RGB, 4 to Layout.CMYK).getValue(channels)
        return Picture(data, raster.width, raster.height, layout)
    } finally {
        reader.dispose()
    }
}

/** YCbCr -> RGB, or YCCK -> CMYK, in place and in libjpeg's integers. */
private fun toRgb(data: ByteArray, channels: Int) {
    for (i in data.indices step channels) {
        val (y, blue, red) = listOf(data.at(i), data.at(i + 1) - 128, data.at(i + 2) - 128)
        val rgb = intArrayOf(
            y + (91881 * red + 32768 shr 16),
            y + (-22554 * blue - 46802 * red + 32768 shr 16),
            y + (116130 * blue + 32768 shr 16)
        )
        for (c in 0..2) data[i + c] = rgb[c].coerceIn(0, 255).let { if (channels == 4) 255 - it else it }.toByte()
    }
}
