package accounts

import (
	"cmp"
	"runtime"
)

// DefaultDevice is what Telegram is told of a client that says nothing else: the truth.
// It is stored with a new account, so that an upgrade does not change what Telegram
// shows.
func DefaultDevice(appVersion string) Device {
	return Device{Model: "Switchboard", SystemVersion: runtime.GOOS, AppVersion: cmp.Or(appVersion, "1"), SystemLangCode: "en", LangCode: "en"}
}

// Or is d, filled from e where d says nothing.
func (d Device) Or(e Device) Device {
	return Device{
		Model: cmp.Or(d.Model, e.Model), SystemVersion: cmp.Or(d.SystemVersion, e.SystemVersion), AppVersion: cmp.Or(d.AppVersion, e.AppVersion),
		SystemLangCode: cmp.Or(d.SystemLangCode, e.SystemLangCode), LangCode: cmp.Or(d.LangCode, e.LangCode),
	}
}
