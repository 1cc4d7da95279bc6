package mesh

import "maps"

// DefaultNamespace is the namespace of what names none.
const DefaultNamespace = "default"

// decode decodes an object whose fields beside apiVersion, kind, metadata and
// status are those of rest. It returns the annotations.
func (m *Meta) decode(root value, validName func(string) bool, form string, rest fields) (annotations map[string]string) {
	table := fields{
		"apiVersion": ignore, "kind": ignore, "status": ignore,
		"metadata": func(v value) {
			v.fields(fields{
				"name":        text(&m.Name, validName, form),
				"namespace":   text(&m.Namespace, isLabel, labelForm),
				"labels":      stringMap(&m.Labels),
				"annotations": stringMap(&annotations),
				// Kubernetes writes these.
				"uid": ignore, "resourceVersion": ignore, "generation": ignore, "selfLink": ignore,
				"creationTimestamp": ignore, "deletionTimestamp": ignore, "deletionGracePeriodSeconds": ignore,
				"managedFields": ignore, "ownerReferences": ignore, "finalizers": ignore, "generateName": ignore,
			})
		},
	}
	if scalar(child(root.n, "metadata"), "name") == "" {
		root.missing("metadata.name", form)
	}
	maps.Copy(table, rest)
	root.fields(table)
	return annotations
}
