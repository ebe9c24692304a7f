package ca

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/identity"
)

// caFile holds the private key and the certificates together: one file is replaced by one rename, so key and
// certificate can never be of different generations.
const caFile = "ca.pem"

const pemPrivateKey = "PRIVATE KEY"

// loosePermissions are the bits a CA file must not have: anything for others, and writing for the group.
const loosePermissions fs.FileMode = 0o027

// LoadOrCreate reads the CA from ca.pem in dir and makes a new root there when the file does not exist. The file is
// made with mode 0600 under a temporary name and linked into place, so of several processes that start at once all
// get the same CA. A file that exists and is not usable is an error, never replaced.
func LoadOrCreate(dir string, o Options) (*CA, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, caFile)
	ca, err := load(path, o)
	if !errors.Is(err, fs.ErrNotExist) {
		return ca, err
	}
	if err := create(path, o); err != nil {
		return nil, fmt.Errorf("create CA %s: %w", path, err)
	}
	return load(path, o)
}

func load(path string, o Options) (*CA, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("load CA %s: %w", path, err)
	}
	certs, err := identity.ParseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("load CA %s: %w", path, err)
	}
	ca, err := caOfOneFile(o, key, certs)
	if err != nil {
		return nil, fmt.Errorf("load CA %s: %w", path, err)
	}
	ca.warnOfExpiry(o.Logger, path)
	return ca, nil
}

// caOfOneFile finds out which certificate is what. The signer is the certificate of the key, the roots are the
// self-signed ones.
func caOfOneFile(o Options, key crypto.Signer, certs []*x509.Certificate) (*CA, error) {
	signer, err := findSigner(key, certs)
	if err != nil {
		return nil, err
	}
	if err := checkSigner(signer, o.TrustDomain, time.Now()); err != nil {
		return nil, err
	}
	roots, err := selfSignedOf(certs)
	if err != nil {
		return nil, err
	}
	chain, err := chainTo(roots, signer, certs)
	if err != nil {
		return nil, fmt.Errorf("the CA certificate does not chain to a root: %w", err)
	}
	return newCA(o, key, signer, chain, roots), nil
}

// readPrivate reads a file that only its owner may touch.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if loose := info.Mode().Perm() & loosePermissions; loose != 0 {
		return nil, fmt.Errorf("%s: mode %#o lets others at the private key (chmod 600 %s)", path, info.Mode().Perm(), path)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parseKey reads the first private key: PKCS #8, SEC 1 or PKCS #1.
func parseKey(data []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case pemPrivateKey:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("private key: %w", err)
			}
			signer, ok := key.(crypto.Signer)
			if !ok {
				return nil, fmt.Errorf("private key of type %T cannot sign", key)
			}
			return signer, nil
		case "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("private key: %w", err)
			}
			return key, nil
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" { // RFC 1421 §4.6.1.3
				return nil, errEncryptedKey
			}
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("private key: %w", err)
			}
			return key, nil
		case "ENCRYPTED PRIVATE KEY":
			return nil, errEncryptedKey
		}
	}
	return nil, errors.New(`no PEM block of type "PRIVATE KEY"`)
}

var errEncryptedKey = errors.New("the private key is encrypted: store it without a passphrase (openssl pkey)")

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: der}), nil
}

// create makes a root and puts it at path unless another process was faster, which is not an error.
func create(path string, o Options) error {
	key, cert, err := newRoot(o.TrustDomain)
	if err != nil {
		return err
	}
	data, err := encodeKey(key)
	if err != nil {
		return err
	}
	data = append(data, identity.EncodeCertificates(cert)...)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	made, err := writeOnce(path, data)
	if err != nil {
		return err
	}
	if made {
		o.Logger.Info("created CA root", slog.String("file", path), slog.String("trust_domain", o.TrustDomain),
			slog.Time("not_after", cert.NotAfter))
	}
	return nil
}

// writeOnce makes path with all of data or not at all, durably, and reports false where path existed already. link(2)
// is used because, unlike rename(2), it never replaces.
func writeOnce(path string, data []byte) (made bool, err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // CreateTemp makes it 0600
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, writeErr := tmp.Write(data)
	if err := errors.Join(writeErr, tmp.Sync(), tmp.Close()); err != nil {
		return false, err
	}
	switch err := os.Link(tmp.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
