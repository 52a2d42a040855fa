// SPDX-License-Identifier: Apache-2.0
//
// NOT COMPILED IN THIS REPOSITORY'S TESTS: there is no Swift compiler. What it calls, skin_edge.h, is tested in C. Compare a
// device's answers by `skin-edge verify` before you trust them.
//
// A skin-edge model file and the pixels of a picture -> decisions, as CONTRACT.md defines them.
import CSkinEdge
import Foundation

/// "cannot assess: ...": never a class.
public struct CannotAssess: Error, CustomStringConvertible {
    public let description: String

    init(_ status: skin_edge_status) { description = String(cString: skin_edge_message(status)) }
    public init(_ reason: String) { description = "cannot assess: " + reason }
}

/// Samples of a picture as they were decoded, neither turned nor converted by a profile, or in sRGB.
public struct Picture {
    public var bytes: Data
    public var width: Int
    public var height: Int
    public var rowBytes: Int
    public var layout: skin_edge_layout
    public var orientation: Int

    public init(bytes: Data, width: Int, height: Int, rowBytes: Int, layout: skin_edge_layout = SKIN_EDGE_RGB, orientation: Int = 1) {
        self.bytes = bytes
        self.width = width
        self.height = height
        self.rowBytes = rowBytes
        self.layout = layout
        self.orientation = orientation
    }
}

public struct Decision {
    public let name: String
    public let score: Double
    public let threshold: Double
    /// false: below the threshold, which is no all-clear.
    public let refer: Bool
    /// To be shown as such.
    public let borderline: Bool
}

public struct Answer {
    public let label: String
    public let probabilities: [Float]
    public let decisions: [Decision]
}

public final class Model {
    // On the heap: it is some 25 kB, and the C functions want it to stay where it is.
    private let model = UnsafeMutablePointer<skin_edge_model>.allocate(capacity: 1)

    /// file: a whole .tflite file. Throws CannotAssess where it is damaged, changed, or of another contract.
    public init(file: Data) throws {
        model.initialize(to: skin_edge_model())
        let status = file.withUnsafeBytes { skin_edge_open($0.baseAddress, $0.count, model) }
        guard status == SKIN_EDGE_OK else { throw CannotAssess(status) }
    }

    deinit { model.deallocate() }

    public var width: Int { Int(model.pointee.input.columns) }
    public var height: Int { Int(model.pointee.input.rows) }

    /// To be shown with every answer.
    public var notice: String { text(of: \.notice) }

    /// Codes in the order of the probabilities.
    public lazy var labels: [String] = (0..<Int(model.pointee.label_count)).map { position in
        withUnsafePointer(to: &model.pointee.labels) {
            $0.withMemoryRebound(to: skin_edge_label.self, capacity: position + 1) { labels in
                withUnsafePointer(to: labels[position].code) {
                    $0.withMemoryRebound(to: CChar.self, capacity: Int(SKIN_EDGE_TEXT)) { String(cString: $0) }
                }
            }
        }
    }

    /// The EXIF orientation of a JPEG or PNG file.
    public static func orientation(of file: Data) -> Int {
        file.withUnsafeBytes { Int(skin_edge_orientation($0.baseAddress, $0.count)) }
    }

    /// A picture -> 3 * width * height bytes of RGB.
    public func resize(_ picture: Picture) throws -> [UInt8] {
        guard picture.height > 0, picture.rowBytes > 0, picture.bytes.count >= picture.rowBytes * picture.height else {
            throw CannotAssess("fewer bytes than the picture's size says")
        }
        var rgb = [UInt8](repeating: 0, count: 3 * width * height)
        let status: skin_edge_status = picture.bytes.withUnsafeBytes { bytes in
            var given = skin_edge_picture()
            given.pixels = bytes.baseAddress
            given.width = UInt32(picture.width)
            given.height = UInt32(picture.height)
            given.row_bytes = picture.rowBytes
            given.layout = picture.layout
            given.orientation = Int32(picture.orientation)
            var (columns, rows) = (UInt32(0), UInt32(0))
            skin_edge_upright_size(&given, &columns, &rows)
            let size = skin_edge_memory(columns, rows, model.pointee.input.columns, model.pointee.input.rows)
            var memory = [UInt8](repeating: 0, count: max(size, 1))
            return skin_edge_resize(model, &given, &rgb, &memory, size)
        }
        guard status == SKIN_EDGE_OK else { throw CannotAssess(status) }
        return rgb
    }

    /// RGB bytes -> the bytes of the input tensor, as LiteRT's `Interpreter.copy(_:toInputAt:)` takes them.
    public func tensor(_ rgb: [UInt8]) -> Data {
        var tensor = Data(count: rgb.count * (model.pointee.input.type == SKIN_EDGE_FLOAT32 ? 4 : 1))
        tensor.withUnsafeMutableBytes { skin_edge_fill_tensor(model, rgb, $0.baseAddress) }
        return tensor
    }

    /// The bytes of the output `probabilities`, found by name -> class and decisions.
    public func decide(_ output: Data) throws -> Answer {
        let count = Int(model.pointee.label_count)
        let size = count * (model.pointee.probabilities.type == SKIN_EDGE_FLOAT32 ? 4 : 1)
        guard output.count == size else { throw CannotAssess(SKIN_EDGE_NO_ANSWER) }
        var probabilities = [Float](repeating: 0, count: count)
        output.withUnsafeBytes { skin_edge_real(&model.pointee.probabilities, $0.baseAddress, count, &probabilities) }
        var answer = skin_edge_answer()
        let status = skin_edge_decide(model, probabilities, &answer)
        guard status == SKIN_EDGE_OK else { throw CannotAssess(status) }
        let decisions: [Decision] = withUnsafePointer(to: &answer.decisions) {
            $0.withMemoryRebound(to: skin_edge_decision.self, capacity: max(1, Int(answer.decision_count))) { all in
                (0..<Int(answer.decision_count)).map { i in
                    Decision(name: String(cString: all[i].name), score: all[i].score, threshold: all[i].threshold,
                             refer: all[i].refer != 0, borderline: all[i].borderline != 0)
                }
            }
        }
        return Answer(label: labels[Int(answer.label)], probabilities: probabilities, decisions: decisions)
    }

    private func text<T>(of field: KeyPath<skin_edge_model, T>) -> String {
        withUnsafePointer(to: model.pointee[keyPath: field]) {
            $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout<T>.size) { String(cString: $0) }
        }
    }
}
