package main

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// wireTime is how long what happens once on the wire lasts at most.
const wireTime = 6 * time.Second

// wireTrouble is what the simulated Telegram does on demand.
type wireTrouble struct {
	what   string
	lossy  bool // answers may be lost
	all    bool // may be for all accounts
	silent bool // nobody notices for a minute
	body   func(r *rand.Rand, account string) (path string, body map[string]any)
}

// floodable are the methods that get flood waits, acting the ones whose effects count.
var (
	floodable = []string{"messages.sendMessage", "messages.createChat", "messages.editMessage", "contacts.resolveUsername", "users.getUsers", "users.getFullUser"}
	acting    = []string{"messages.sendMessage", "messages.createChat", "messages.editMessage"}
)

func someOf(r *rand.Rand, of []string) string { return of[r.IntN(len(of))] }

func millis(r *rand.Rand, low, high int) string {
	return strconv.Itoa(low+r.IntN(high-low)) + "ms"
}

// faulty is a fault that applies to a few calls.
func faulty(effect func(r *rand.Rand) map[string]any, methods ...string) func(*rand.Rand, string) (string, map[string]any) {
	return func(r *rand.Rand, account string) (string, map[string]any) {
		body := effect(r)
		body["account"], body["times"] = account, 1+r.IntN(3)
		if len(methods) > 0 {
			body["method"] = someOf(r, methods)
		}
		return "/faults", body
	}
}

// fixed is an effect without a choice.
func fixed(field string, value any) func(*rand.Rand) map[string]any {
	return func(*rand.Rand) map[string]any { return map[string]any{field: value} }
}

var wireTroubles = []wireTrouble{
	{"connection cut", true, true, false, func(_ *rand.Rand, account string) (string, map[string]any) {
		return "/cut", map[string]any{"account": account}
	}},
	{"connection half-open", true, false, true, func(r *rand.Rand, account string) (string, map[string]any) {
		return "/half-open", map[string]any{"account": account, "for": millis(r, 300, 4000), "close": r.IntN(2) == 0}
	}},
	{"answers stalled", false, true, false, func(r *rand.Rand, account string) (string, map[string]any) {
		return "/stall", map[string]any{"account": account, "for": millis(r, 200, 3000)}
	}},
	{"cut after the effect", true, false, false, faulty(fixed("cut", true), acting...)},
	{"answer dropped", true, false, true, faulty(fixed("drop_answer", true), acting...)},
	{"answer delayed", false, false, false, faulty(func(r *rand.Rand) map[string]any { return map[string]any{"delay": millis(r, 100, 2000)} })},
	{"early ack", false, false, false, faulty(fixed("early_ack", true))},
	{"detailed info", false, false, false, faulty(fixed("detailed_info", true))},
	{"FLOOD_WAIT", false, true, false, faulty(func(r *rand.Rand) map[string]any {
		return map[string]any{"error": "FLOOD_WAIT_" + strconv.Itoa(1+r.IntN(3))}
	}, floodable...)},
	{"error 500", false, false, false, faulty(func(*rand.Rand) map[string]any { return map[string]any{"error": chaosInternal, "code": 500} }, floodable...)},
	{"msg_id refused", false, false, false, faulty(fixed("bad_msg", 16))},
	{"container refused", false, false, false, faulty(func(*rand.Rand) map[string]any { return map[string]any{"bad_msg": 64, "outer": true} })},
	{"seqno refused", true, false, false, faulty(fixed("bad_msg", 32))},
	{"bad salt", false, true, false, faulty(fixed("bad_salt", true))},
	{"new session", true, false, false, faulty(fixed("new_session", true))},
	{"sessions forgotten", true, true, true, func(_ *rand.Rand, account string) (string, map[string]any) {
		return "/forget-sessions", map[string]any{"account": account}
	}},
	{"salts rotated", false, true, false, func(_ *rand.Rand, account string) (string, map[string]any) {
		return "/salts", map[string]any{"rotate": true, "account": account}
	}},
	{"salts rotated often", false, false, false, func(r *rand.Rand, _ string) (string, map[string]any) {
		return "/salts", map[string]any{"every": 5 + r.IntN(40), "overlap": "2s"}
	}},
	{"round trip", false, false, false, func(r *rand.Rand, _ string) (string, map[string]any) {
		return "/rtt", map[string]any{"rtt": millis(r, 0, 60)}
	}},
}
