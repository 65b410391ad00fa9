package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CreateNew makes a file that its owner alone may read. It never replaces one: what it
// has may be all that opens something.
func CreateNew(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists already; it is not replaced", filepath.Clean(file))
	}
	return f, err
}

// WriteSecret is CreateNew with all that the file is to have.
func WriteSecret(file string, data []byte) error {
	f, err := CreateNew(file)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
