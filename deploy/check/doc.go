// Package check tests what lies in deploy/ with the programs' own libraries: the
// chart is rendered by Helm's engine and read strictly into Kubernetes' types,
// the compose file is loaded as Docker Compose loads it, alerts and the queries
// of the dashboard are parsed by Prometheus. The gateway's OpenAPI document is read
// by a linter.
//
// It is a module of its own: nothing of that belongs into Switchboard's. It
// cannot tell whether an image exists or what a cluster makes of a manifest.
package check
