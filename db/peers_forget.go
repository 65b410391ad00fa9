package db

import (
	"context"
	"fmt"
	"strings"

	"github.com/tgswitchboard/switchboard/accounts"
	"github.com/tgswitchboard/switchboard/peers"
)

const forgetHash = `UPDATE peers SET access_hash = 0, is_min = false
	WHERE account = @account AND kind = @kind AND id = @id AND access_hash = @hash AND access_hash <> 0`

// ForgetHash removes an access hash, if it is the one that is stored.
func (s *Peers) ForgetHash(ctx context.Context, acct accounts.ID, k peers.Key, hash int64) error {
	err := s.d.run(ctx).Exec(forgetHash, map[string]any{
		"account": string(acct), "kind": uint8(k.Kind), "id": k.ID, "hash": hash,
	}).Error
	return s.d.fail(ctx, "forget the access hash of "+k.String()+" of account "+string(acct), err)
}

func goneBatch(d dialect) *batch {
	return d.newBatch("in_kind smallint", "in_id bigint", "msg_id bigint")
}

// forgetMessages finds rows in the four ways in which they are named. The account is
// locked as in a flush, but only if there is something to remove.
func forgetMessages(d dialect) string {
	named := func(on string) string { return d.lookup("peer_messages", "k", "k.account = @account AND "+on) }
	lock := "FOR NO KEY UPDATE"
	if d.lite {
		lock = ""
	}
	return strings.NewReplacer(
		"{batch}", goneBatch(d).from(),
		"{one}", named("k.in_kind = b.in_kind AND k.in_id = b.in_id AND k.msg_id = b.msg_id"),
		"{all}", named("k.in_kind = b.in_kind AND k.in_id = b.in_id"),
		"{one shared}", named("k.in_kind < 3 AND k.msg_id = b.msg_id"), // not of a channel
		"{all shared}", named("k.in_kind < 3"),
		"{lock}", lock,
	).Replace(`WITH b AS MATERIALIZED (SELECT * FROM {batch} AS b),
	gone AS MATERIALIZED (
		SELECT k.* FROM b {one} WHERE b.in_kind <> 0 AND b.msg_id <> 0
		UNION SELECT k.* FROM b {all} WHERE b.in_kind <> 0 AND b.msg_id = 0
		UNION SELECT k.* FROM b {one shared} WHERE b.in_kind = 0 AND b.msg_id <> 0
		UNION SELECT k.* FROM b {all shared} WHERE b.in_kind = 0 AND b.msg_id = 0
	), owner AS MATERIALIZED (SELECT id FROM accounts WHERE id = @account AND EXISTS (SELECT 1 FROM gone) {lock})
	DELETE FROM peer_messages WHERE (account, kind, id, in_kind, in_id, msg_id) IN (
		SELECT g.account, g.kind, g.id, g.in_kind, g.in_id, g.msg_id FROM gone AS g JOIN owner ON owner.id = g.account)
	RETURNING kind, id`)
}

// ForgetMessages removes messages, and returns the peers that were seen in one of
// them. A Message whose In is zero means every chat and private conversation: they
// share their ids. One whose ID is 0 means all of the conversation.
func (s *Peers) ForgetMessages(ctx context.Context, acct accounts.ID, gone []peers.Message) ([]peers.Key, error) {
	op := fmt.Sprintf("forget %d messages of account %s", len(gone), acct)
	b := goneBatch(s.d.dialect)
	for _, m := range gone {
		if m.In == (peers.Key{}) || m.In.Valid() {
			b.add(m.In.Kind, m.In.ID, m.ID)
		}
	}
	if len(b.rows) == 0 {
		return nil, nil
	}
	rows, err := b.param()
	if err != nil {
		return nil, s.d.fail(ctx, op, err)
	}
	var found []peers.Key
	err = s.d.planned(ctx).Raw(s.forget, map[string]any{"batch": rows, "account": string(acct)}).Scan(&found).Error
	if err != nil {
		return nil, s.d.fail(ctx, op, err)
	}
	seen := map[peers.Key]bool{}
	var keys []peers.Key
	for _, k := range found {
		if !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys, nil
}
