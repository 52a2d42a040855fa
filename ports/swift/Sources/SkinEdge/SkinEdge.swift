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
    /// Where the picture is beyond the model's limits; else none.
    public let reasons: [Reason]

    init(_ status: skin_edge_status) {
        description = String(cString: skin_edge_message(status))
        reasons = []
    }

    public init(_ reason: String, reasons: [Reason] = []) {
        description = "cannot assess: " + reason
        self.reasons = reasons
    }
}

/// Why a picture cannot be assessed.
public struct Reason {
    /// A code, such as "too_dark".
    public let reason: String
    public let text: String
    /// What to do about it; may be empty.
    public let remedy: String
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
    /// Codes of the classes that it may well be; nil where the model does not say.
    public let possible: [String]?
    /// Why it cannot be assessed: where there are any, they are the answer, and the rest must not be shown.
    public let reasons: [Reason]
    /// What was measured, by name.
    public let features: [String: Double]
    public var assessable: Bool { reasons.isEmpty }
}

public final class Model {
    // On the heap: it is some 42 kB, and the C functions want it to stay where it is.
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

    /// The bytes of the output `probabilities`, found by name -> the answer.
    ///
    /// rgb: what `resize` gave for the same picture. outlierScore: the bytes of the output of that name, where the model has it.
    /// Throws CannotAssess, with its reasons, where the picture is beyond the model's limits, unless assessAnything is set: then
    /// say with the answer that it is none.
    public func decide(_ output: Data, rgb: [UInt8], outlierScore: Data? = nil, assessAnything: Bool = false) throws -> Answer {
        let count = Int(model.pointee.label_count)
        guard output.count == count * width(of: model.pointee.probabilities), rgb.count == 3 * width * height else {
            throw CannotAssess(SKIN_EDGE_NO_ANSWER)
        }
        var probabilities = [Float](repeating: 0, count: count)
        var status = output.withUnsafeBytes { skin_edge_probabilities(model, $0.baseAddress, &probabilities) }
        guard status == SKIN_EDGE_OK else { throw CannotAssess(status) }
        var features = skin_edge_features()
        skin_edge_measure(model, rgb, &features)
        if let score = outlierScore, model.pointee.outlier_score.rows > 0 {
            guard score.count == width(of: model.pointee.outlier_score) else { throw CannotAssess(SKIN_EDGE_NO_ANSWER) }
            status = score.withUnsafeBytes { skin_edge_score(model, $0.baseAddress, &features) }
            guard status == SKIN_EDGE_OK else { throw CannotAssess(status) }
        }
        var answer = skin_edge_answer()
        status = skin_edge_decide(model, probabilities, &features, &answer)
        guard status == SKIN_EDGE_OK || status == SKIN_EDGE_REFUSED else { throw CannotAssess(status) }
        let why = reasons(of: &answer)
        if status == SKIN_EDGE_REFUSED && !assessAnything {
            let said = why.map { $0.remedy.isEmpty ? $0.text : "\($0.text) (\($0.remedy))" }.joined(separator: "; ")
            throw CannotAssess(said, reasons: why)
        }
        return Answer(label: labels[Int(answer.label)], probabilities: probabilities, decisions: decisions(of: &answer),
                      possible: possible(of: &answer), reasons: why, features: named(&features))
    }

    private func width(of tensor: skin_edge_tensor) -> Int { tensor.type == SKIN_EDGE_FLOAT32 ? 4 : 1 }

    private func decisions(of answer: inout skin_edge_answer) -> [Decision] {
        let count = Int(answer.decision_count)
        return withUnsafePointer(to: &answer.decisions) {
            $0.withMemoryRebound(to: skin_edge_decision.self, capacity: max(1, count)) { all in
                (0..<count).map { i in
                    Decision(name: String(cString: all[i].name), score: all[i].score, threshold: all[i].threshold,
                             refer: all[i].refer != 0, borderline: all[i].borderline != 0)
                }
            }
        }
    }

    private func reasons(of answer: inout skin_edge_answer) -> [Reason] {
        let count = Int(answer.reason_count)
        return withUnsafePointer(to: &answer.reasons) {
            $0.withMemoryRebound(to: UnsafePointer<skin_edge_check>.self, capacity: max(1, count)) { all in
                (0..<count).map { i in
                    let check = all[i].pointee
                    return Reason(reason: string(check.reason), text: string(check.text), remedy: string(check.remedy))
                }
            }
        }
    }

    private func possible(of answer: inout skin_edge_answer) -> [String]? {
        guard answer.has_possible != 0 else { return nil }
        let bits = withUnsafeBytes(of: &answer.possible) { Array($0) }
        return labels.enumerated().filter { bits[$0.offset / 8] >> UInt8($0.offset % 8) & 1 == 1 }.map { $0.element }
    }

    private func named(_ features: inout skin_edge_features) -> [String: Double] {
        guard model.pointee.check_count > 0 else { return [:] }
        let values = withUnsafeBytes(of: &features.values) { Array($0.bindMemory(to: Int32.self)) }
        var found: [String: Double] = [:]
        for (i, value) in values.enumerated() {
            found[String(cString: skin_edge_feature_name(skin_edge_feature(rawValue: UInt32(i))))] = Double(value)
        }
        if features.has_outlier_score != 0 { found["outlier_score"] = Double(features.outlier_score) }
        return found
    }

    private func string<T>(_ text: T) -> String {
        withUnsafeBytes(of: text) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    private func text<T>(of field: KeyPath<skin_edge_model, T>) -> String {
        withUnsafePointer(to: model.pointee[keyPath: field]) {
            $0.withMemoryRebound(to: CChar.self, capacity: MemoryLayout<T>.size) { String(cString: $0) }
        }
    }
}
