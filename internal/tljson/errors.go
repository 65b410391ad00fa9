package tljson

// Error says what is wrong with a call.
type Error struct {
	Code    string // one of the codes below
	Path    string // where, as in the JSON: params.peer, params.id[2]; "" for the method
	Message string // one sentence that says what was wanted, what came, and what would do
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Message
	}
	return e.Path + ": " + e.Message
}

// Codes of an Error.
const (
	CodeUnknownMethod = "unknown_method"
	CodeUnsafeMethod  = "unsafe_method" // it needs the deployment's permission
	CodeInvalidJSON   = "invalid_json"
	CodeUnknownField  = "unknown_field"
	CodeUnknownType   = "unknown_type"  // "_" names nothing, or nothing that fits
	CodeMissingField  = "missing_field" // required, or goes together with one that is there
	CodeWrongType     = "wrong_type"
	CodeOutOfRange    = "out_of_range"
	CodeInvalidBase64 = "invalid_base64"
	CodeWrongKind     = "peer_wrong_kind" // a channel where a user is wanted
	CodeTooDeep       = "too_deep"
)
