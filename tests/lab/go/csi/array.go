package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// array is what the storage array knows: which volumes there are, and which nodes each is published to. Its records are
// files, so that they outlive the controller's process and every node can look up whether it may.
type array struct{ shared string }

// published is one volume's record.
type published struct {
	Nodes  []string `json:"nodes"`
	Shared bool     `json:"shared"` // to several nodes at once
}

var (
	errElsewhere = errors.New("published to another node")
	plain        = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
)

// exists tells whether there is such a volume: a folder, or a device of that name.
func (a array) exists(volume string, block bool) bool {
	if !plain.MatchString(volume) {
		return false
	}
	if block {
		_, err := a.minor(volume)
		return err == nil
	}
	folder, err := os.Stat(a.folder(volume))
	return err == nil && folder.IsDir()
}

func (a array) folder(volume string) string { return filepath.Join(a.shared, volume) }

// minor is the loop device behind a block volume, as the lab lists it.
func (a array) minor(volume string) (int, error) {
	text, err := os.ReadFile(filepath.Join(a.shared, ".luns"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == volume {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fs.ErrNotExist
}

// stuck tells whether a test has made the array refuse to take volumes from nodes.
func (a array) stuck() bool {
	_, err := os.Stat(filepath.Join(a.shared, ".san", ".keeps"))
	return err == nil
}

func (a array) record(volume string) (published, error) {
	var found published
	text, err := os.ReadFile(a.path(volume))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	return found, json.Unmarshal(text, &found)
}

func (a array) path(volume string) string { return filepath.Join(a.shared, ".san", volume) }

// publish lets a node use the volume; one that is not shared goes to one node at a time.
func (a array) publish(volume, node string, shared bool) error {
	found, err := a.record(volume)
	if err != nil {
		return err
	}
	if slices.Contains(found.Nodes, node) {
		if found.Shared != shared {
			return fmt.Errorf("published to %s with another access mode", node)
		}
		return nil
	}
	if len(found.Nodes) > 0 && !(shared && found.Shared) {
		return fmt.Errorf("%w: %s", errElsewhere, strings.Join(found.Nodes, ", "))
	}
	return a.write(volume, published{Nodes: append(found.Nodes, node), Shared: shared})
}

// unpublish takes the volume from a node, or from all if none is named.
func (a array) unpublish(volume, node string) error {
	found, err := a.record(volume)
	if err != nil {
		return err
	}
	found.Nodes = slices.DeleteFunc(found.Nodes, func(one string) bool { return node == "" || one == node })
	if len(found.Nodes) > 0 {
		return a.write(volume, found)
	}
	if err := os.Remove(a.path(volume)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (a array) write(volume string, record published) error {
	path := a.path(volume)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
