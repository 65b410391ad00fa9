package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tgswitchboard/switchboard/jobs/internal/lane"
	"github.com/tgswitchboard/switchboard/peers"
)

// Lane names the lane of the job inside its account: a hash, or lane.None. Jobs
// of one lane run in the order they were enqueued.
func (e *Envelope) Lane() string {
	key := e.lane()
	if key == "" {
		return lane.None
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])[:lane.Size]
}

// lane is what makes two jobs share a lane, "" if the job is in none. Different
// references to one peer, as its name and its id, are different lanes.
func (e *Envelope) lane() string {
	switch {
	case e.OrderKey != nil && *e.OrderKey == "":
		return ""
	case e.OrderKey != nil:
		return "key " + *e.OrderKey
	case e.Send == nil:
		return ""
	}
	ref, err := peers.Parse(e.Send.To)
	if err != nil {
		return ""
	}
	ref = ref.Peer()
	if key, ok := ref.Key(); ok {
		return fmt.Sprintf("peer %s %d", key.Kind, key.ID) // whatever hash it carries
	}
	return "peer " + ref.String()
}
