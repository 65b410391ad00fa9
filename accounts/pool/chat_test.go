package pool

import (
	"testing"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

func TestChatOf(t *testing.T) {
	user, basic := &tg.InputPeerUser{UserID: 5, AccessHash: 7}, &tg.InputPeerChat{ChatID: 6}
	mega := &tg.InputPeerChannel{ChannelID: 8}
	tests := []struct {
		name string
		in   bin.Encoder
		want string // "" for none
	}{
		{"a user", &tg.MessagesSendMessageRequest{Peer: user}, "user:5"},
		{"a group", &tg.MessagesSendMediaRequest{Peer: basic}, "chat:6"},
		{"a channel", &tg.MessagesEditMessageRequest{Peer: mega}, "channel:8"},
		{"self", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerSelf{}}, "me"},
		{"self by id", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUser{UserID: 99}}, "me"},
		{"a user that was seen in a message", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerUserFromMessage{Peer: mega, UserID: 5}}, "user:5"},
		{"a channel that was seen in a message", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerChannelFromMessage{Peer: user, ChannelID: 8}}, "channel:8"},
		{"a forward", &tg.MessagesForwardMessagesRequest{FromPeer: mega, ToPeer: user}, "user:5"},
		{"a method of channels", &tg.ChannelsDeleteMessagesRequest{Channel: &tg.InputChannel{ChannelID: 8}}, "channel:8"},
		{"a method of basic groups", &tg.MessagesEditChatTitleRequest{ChatID: 6}, "chat:6"},
		{"an empty peer", &tg.MessagesSendMessageRequest{Peer: &tg.InputPeerEmpty{}}, ""},
		{"no peer", &tg.MessagesSendMessageRequest{}, ""},
		{"an empty channel", &tg.ChannelsDeleteMessagesRequest{Channel: &tg.InputChannelEmpty{}}, ""},
		{"an encrypted chat", &tg.MessagesSendEncryptedRequest{Peer: tg.InputEncryptedChat{ChatID: 6}}, ""},
		{"no chat", &tg.HelpGetConfigRequest{}, ""},
	}
	c := &Conn{}
	c.userID.Store(99)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := c.chatOf(tt.in)
			if ok != (tt.want != "") || ok && got.String() != tt.want {
				t.Errorf("chatOf = %v, %v; want %q", got, ok, tt.want)
			}
		})
	}
}
