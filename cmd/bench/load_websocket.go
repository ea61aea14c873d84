//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const websocketKey = "cXVvcmF0ZS1iZW5jaC0wMQ=="

// acceptKey is the answer to a Sec-WebSocket-Key (RFC 6455 §4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// frame is one binary WebSocket message of less than 64 KiB; mask is what a client
// has to use (RFC 6455 §5.3), nil for a server.
func frame(payload, mask []byte) []byte {
	b := []byte{0x82, 0}
	if len(payload) < 126 {
		b[1] = byte(len(payload))
	} else {
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	if mask == nil {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// upgrade makes a WebSocket of client c. From then on its request is a frame, and
// the answer must be the same message.
func (l *raw) upgrade(c *client, i int) error {
	if err := l.connect(c); err != nil {
		return err
	}
	head := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n", pathEcho, websocketKey)
	if cookie := l.cookie(i); cookie != "" {
		head += "Cookie: " + cookie + "\r\n"
	}
	if err := ready(c.fd, unix.POLLOUT); err != nil {
		return err
	}
	if n, err := unix.Write(c.fd, []byte(head+"\r\n")); err != nil || n < len(head)+2 {
		return fmt.Errorf("wrote %d bytes: %w", n, err)
	}
	var got []byte
	for !bytes.Contains(got, []byte("\r\n\r\n")) {
		if err := ready(c.fd, unix.POLLIN); err != nil {
			return err
		}
		n, err := unix.Read(c.fd, l.buffer)
		if err != nil || n == 0 {
			return fmt.Errorf("read %q: %w", cut(got), errors.Join(err, errors.New("closed")))
		}
		got = append(got, l.buffer[:n]...)
	}
	if !bytes.HasPrefix(got, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(got, []byte("\r\n\r\n")) ||
		!bytes.Contains(got, []byte(": "+acceptKey(websocketKey)+"\r\n")) {
		return fmt.Errorf("answered %q", cut(got))
	}
	message := pattern(frameSize)
	c.request, l.frame = frame(message, []byte{0x3b, 0xa4, 0x71, 0xe5}), frame(message, nil)
	return l.watch(c, unix.EPOLL_CTL_MOD, false)
}

// ready waits until fd can be read or written.
func ready(fd int, events int16) error {
	set := []unix.PollFd{{Fd: int32(fd), Events: events}}
	for end := time.Now().Add(closeWait); time.Now().Before(end); {
		n, err := unix.Poll(set, 1000)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
	return fmt.Errorf("nothing for %s", closeWait)
}
