package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
)

// checkFile holds the file a key names against its kind: plain must be readable,
// ca hold certificates, secret hold something and be nobody else's to write.
func (l *loader) checkFile(path, name, kind string) {
	info, err := os.Stat(name)
	if err != nil {
		l.refuse(path, cause(err).Error(), "")
		return
	}
	if !info.Mode().IsRegular() {
		l.refuse(path, "not a file", "")
		return
	}
	text, err := readFile(name)
	if err != nil {
		l.refuse(path, cause(err).Error(), "")
		return
	}
	switch kind {
	case "ca":
		if !x509.NewCertPool().AppendCertsFromPEM(text) {
			l.refuse(path, "holds no PEM certificate", "")
		}
	case "secret":
		if len(bytes.TrimSpace(text)) == 0 {
			l.refuse(path, "is empty", "")
		}
		if info.Mode().Perm()&0o002 != 0 {
			l.refuse(path, "writable by others", "chmod 600 "+name)
		} else if info.Mode().Perm()&0o004 != 0 {
			l.warn(path, "readable by others: chmod 600 "+name)
		}
	}
}

// checkPair refuses a certificate and key, the keys cert_file and key_file below
// path, that are not both there or do not belong together.
func (l *loader) checkPair(path, cert, key string) {
	certPath, keyPath := path+".cert_file", path+".key_file"
	switch {
	case cert == "" && key == "":
		l.refuse(certPath, "must be given, with key_file", "")
	case cert == "":
		l.refuse(keyPath, "needs cert_file", "")
	case key == "":
		l.refuse(certPath, "needs key_file", "")
	case l.broken(certPath) || l.broken(keyPath):
	default:
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			l.refuse(certPath, "no pair with key_file: "+err.Error(), "")
		}
	}
}
