package sessionfile

import (
	"encoding/json"
	"fmt"

	"github.com/tgswitchboard/switchboard/accounts"
)

// readGotd reads the JSON of gotd's session.FileStorage.
func readGotd(data []byte) (Found, error) {
	s, err := accounts.ParseSession(data)
	if err != nil {
		return Found{}, fmt.Errorf("gotd: %w", err)
	}
	var g struct {
		Data struct{ Config struct{ TestMode bool } }
	}
	if err := json.Unmarshal(data, &g); err != nil {
		return Found{}, fmt.Errorf("gotd: %w", err)
	}
	f := Found{Format: Gotd, Session: s}
	host, _, err := Address(s)
	f.setTest(g.Data.Config.TestMode || err == nil && testServers[host])
	return f, nil
}
