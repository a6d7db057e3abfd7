package main

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"
)

// A value describes itself: whose it is, the how-manyeth, who wrote it when,
// and whether it is whole. It is 64 bytes of text, because stores keep JSON:
//
//	[0:8)   hash of the key's name       [20:32) start of the write, µs since the run began
//	[8:16)  number of the write          [32:56) filler, derived from the above
//	[16:20) process that wrote           [56:64) CRC32C of the first 56 bytes
//
// all in lower-case hex. Number 0 is the default. To take a value apart costs
// about as much as the checksum, and allocates nothing, so that every single
// read can be verified.

const valueSize = 64

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hexOf returns the 8 lower-case hex digits of x, the first in the lowest byte.
func hexOf(x uint32) uint64 {
	y := uint64(x>>16) | uint64(x&0xffff)<<32
	y = y>>8&0x000000ff_000000ff | y&0x000000ff_000000ff<<16
	y = y>>4&0x000f000f_000f000f | y&0x000f000f_000f000f<<8
	letters := (y + 0x06060606_06060606) >> 4 & 0x01010101_01010101
	return y + 0x30303030_30303030 + letters*('a'-'9'-1)
}

// unhex undoes hexOf. Of other text it returns anything.
func unhex(text uint64) uint32 {
	y := text&0x0f0f0f0f_0f0f0f0f + 9*(text>>6&0x01010101_01010101)
	y = (y<<4 | y>>8) & 0x00ff00ff_00ff00ff
	y = (y<<8 | y>>16) & 0x0000ffff_0000ffff
	return uint32(y<<16 | y>>32)
}

// hashOf is the hash of a key's name as it stands in its values.
func hashOf(name string) uint64 { return hexOf(crc32.ChecksumIEEE([]byte(name))) }

// newValue builds the value of a write that started at µs since the run began.
func newValue(hash uint64, number uint32, process int, micros int64) string {
	var b [valueSize]byte
	var word [8]byte
	binary.LittleEndian.PutUint64(b[0:], hash)
	binary.LittleEndian.PutUint64(b[8:], hexOf(number))
	binary.LittleEndian.PutUint64(word[:], hexOf(uint32(process)))
	copy(b[16:20], word[4:])
	binary.LittleEndian.PutUint64(word[:], hexOf(uint32(micros>>32)))
	copy(b[20:24], word[4:])
	binary.LittleEndian.PutUint64(b[24:], hexOf(uint32(micros)))
	x := crc32.Checksum(b[:32], castagnoli)
	for at := 32; at < 56; at += 8 {
		x = x*0x9e3779b1 + 1
		binary.LittleEndian.PutUint64(b[at:], hexOf(x))
	}
	binary.LittleEndian.PutUint64(b[56:], hexOf(crc32.Checksum(b[:56], castagnoli)))
	return string(b[:])
}

// A flaw is what is wrong with a value by itself.
type flaw uint8

const (
	whole   flaw = iota
	torn         // not the bytes of any write
	foreign      // whole, but of another key
)

// openValue verifies v, which should be a value of the key with the given hash,
// and returns its number.
func openValue(v string, hash uint64) (number uint32, f flaw) {
	if len(v) != valueSize {
		return 0, torn
	}
	b := unsafe.Slice(unsafe.StringData(v), valueSize) // read only, as a string is
	if binary.LittleEndian.Uint64(b[56:]) != hexOf(crc32.Checksum(b[:56], castagnoli)) {
		return 0, torn
	}
	if binary.LittleEndian.Uint64(b) != hash {
		return 0, foreign
	}
	return unhex(binary.LittleEndian.Uint64(b[8:])), whole
}
