package snapshot

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
)

// Sealing: with a key nobody else reads the options, or writes a file that is
// believed. The first line is bound to them, so that none is put before others.
// An older file of the same key, put back, is a file: its age tells.

// KeySize is the length of a key, in bytes.
const KeySize = 32

// seal returns a random nonce and the sealed text. Two of 2^32 files of one key
// share a nonce with a chance of 2^-33.
func seal(text, key, head []byte) ([]byte, error) {
	c, err := gcm(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, c.NonceSize(), c.NonceSize()+len(text)+c.Overhead())
	rand.Read(nonce) // never fails
	return c.Seal(nonce, nonce, text, head), nil
}

func unseal(box, key, head []byte) ([]byte, error) {
	c, err := gcm(key)
	if err != nil {
		return nil, err
	}
	n := c.NonceSize()
	if len(box) < n {
		return nil, ErrDamaged
	}
	text, err := c.Open(nil, box[:n], box[n:], head)
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, errors.New("the key of a snapshot has 32 bytes")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
