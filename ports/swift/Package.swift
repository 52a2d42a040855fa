// swift-tools-version:5.7
// SPDX-License-Identifier: Apache-2.0
//
// NOT COMPILED IN THIS REPOSITORY'S TESTS: there is no Swift compiler. Copy ports/c/skin_edge.h to
// Sources/CSkinEdge/include/ before you build.
import PackageDescription

let package = Package(
    name: "SkinEdge",
    platforms: [.iOS(.v14), .macOS(.v11)],
    products: [.library(name: "SkinEdge", targets: ["SkinEdge"])],
    targets: [
        .target(name: "CSkinEdge"),
        .target(name: "SkinEdge", dependencies: ["CSkinEdge"]),
    ]
)
