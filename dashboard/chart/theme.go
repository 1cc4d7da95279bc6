package chart

import "image/color"

// A Theme is the colours of a picture. Lines cycles over the series.
type Theme struct {
	Background, Text, Faint, Grid color.Color
	Lines                         []color.Color
}

func rgb(hex uint32) color.Color {
	return color.RGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 255}
}

// Light is for white paper. The line colours keep apart for people who do not
// see red or green (Okabe and Ito), and have 3:1 contrast or more.
func Light() Theme {
	return Theme{
		Background: rgb(0xffffff), Text: rgb(0x1f2328), Faint: rgb(0x57606a), Grid: rgb(0xe4e7eb),
		Lines: []color.Color{rgb(0x0072b2), rgb(0xc8501e), rgb(0x00805e), rgb(0x9b4f8e), rgb(0x8a6d00), rgb(0x57606a), rgb(0x7a4a21)},
	}
}

// Dark is for prefers-color-scheme: dark.
func Dark() Theme {
	return Theme{
		Background: rgb(0x161b22), Text: rgb(0xe6edf3), Faint: rgb(0x9aa4af), Grid: rgb(0x2d333b),
		Lines: []color.Color{rgb(0x56b4e9), rgb(0xf0905a), rgb(0x3fcf9f), rgb(0xd68fc9), rgb(0xd9b83f), rgb(0x9aa4af), rgb(0xcfa67f)},
	}
}
