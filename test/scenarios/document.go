package main

import (
	"fmt"
	"os"
	"strings"
)

// into puts a table into a document in Markdown: below the heading that has
// its name, instead of what is there up to the next heading.
func (t table) into(document string) (string, error) {
	heading := "\n### " + t.Name + "\n"
	at := strings.Index(document, heading)
	if at < 0 {
		return "", fmt.Errorf("%s: the document has no heading %q", t.Name, strings.TrimSpace(heading))
	}
	at += len(heading)
	end := len(document)
	if n := strings.Index(document[at:], "\n#"); n >= 0 {
		end = at + n
	}
	return document[:at] + "\n" + t.body() + document[end:], nil
}

// document puts tables into a file.
func document(file string, tables []table) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := string(b)
	for _, t := range tables {
		if text, err = t.into(text); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return os.WriteFile(file, []byte(text), 0o644)
}
