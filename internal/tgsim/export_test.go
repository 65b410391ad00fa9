package tgsim

// ForLayer is forLayer for tests.
var ForLayer = forLayer
