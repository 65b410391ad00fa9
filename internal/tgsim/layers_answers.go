package tgsim

import (
	"errors"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// Last layers of answers that changed as a whole.
const (
	layerConfig         = 144 // config#330b4067; up to layerConfigReact with reactions_default
	layerConfigReact    = 148 // config#232566ac
	layerAuthorization  = 147 // auth.authorization#33fb7bb8, without future_auth_token
	layerPassword       = 144 // account.password#185b184f, without login_email_pattern
	layerMessagesTopics = 215 // messages.messages#8c718e87, without topics
	layerChannelTopics  = 147 // messages.channelMessages#64479808, without topics
)

// encoderFunc is an answer that is written by hand.
type encoderFunc func(b *bin.Buffer) error

func (f encoderFunc) Encode(b *bin.Buffer) error { return f(b) }

// renamed is v under the id of an older constructor with the same fields.
func renamed(v bin.Encoder, id uint32) encoderFunc {
	return func(b *bin.Buffer) error {
		var now bin.Buffer
		if err := v.Encode(&now); err != nil {
			return err
		}
		b.PutUint32(id)
		b.Put(now.Buf[4:])
		return nil
	}
}

// olderAnswer is an answer whose outermost constructor was another one.
func olderAnswer(v bin.Encoder, layer int) bin.Encoder {
	switch v := v.(type) {
	case *tg.Config:
		if layer <= layerConfigReact {
			return olderConfig(v, layer)
		}
	case *tg.AuthAuthorization:
		if layer <= layerAuthorization && v.FutureAuthToken == nil {
			return renamed(v, 0x33fb7bb8)
		}
	case *tg.AccountPassword:
		if layer <= layerPassword && v.LoginEmailPattern == "" {
			return renamed(v, 0x185b184f)
		}
	case *tg.MessagesMessages:
		if layer <= layerMessagesTopics {
			return encoderFunc(func(b *bin.Buffer) error {
				b.PutUint32(0x8c718e87)
				return putVectors(b, v.Topics, v.Messages, v.Chats, v.Users)
			})
		}
	case *tg.MessagesChannelMessages:
		if layer <= layerChannelTopics {
			return encoderFunc(func(b *bin.Buffer) error {
				if v.Inexact || v.OffsetIDOffset != 0 {
					return errors.New("messages.channelMessages: offset_id_offset is not told to old layers")
				}
				b.PutUint32(0x64479808)
				b.PutUint32(0) // flags
				b.PutInt(v.Pts)
				b.PutInt(v.Count)
				return putVectors(b, v.Topics, v.Messages, v.Chats, v.Users)
			})
		}
	case *tg.User, *tg.Channel, *tg.Message:
		if f, ok := formFor(v.(interface{ TypeID() uint32 }).TypeID(), layer); ok {
			return encoderFunc(func(b *bin.Buffer) error { return f.encodeAs(b, v) })
		}
	}
	return v
}

// putVectors writes the lists of messages.messages as they were before topics.
func putVectors(b *bin.Buffer, topics []tg.ForumTopicClass, messages []tg.MessageClass, chats []tg.ChatClass, users []tg.UserClass) error {
	if len(topics) > 0 {
		return errors.New("messages.messages: topics cannot be told to old layers")
	}
	b.PutVectorHeader(len(messages))
	for _, m := range messages {
		if err := m.Encode(b); err != nil {
			return err
		}
	}
	b.PutVectorHeader(len(chats))
	for _, c := range chats {
		if err := c.Encode(b); err != nil {
			return err
		}
	}
	b.PutVectorHeader(len(users))
	for _, u := range users {
		if err := u.Encode(b); err != nil {
			return err
		}
	}
	return nil
}

// olderConfig is config#330b4067 and config#232566ac: they have four limits
// more, and flags for calls and PFS that are not set here.
func olderConfig(c *tg.Config, layer int) bin.Encoder {
	return encoderFunc(func(b *bin.Buffer) error {
		c.SetFlags()
		for _, bit := range []int{0, 2, 7, 9, 10, 11, 12, 15, 16} {
			if c.Flags.Has(bit) {
				return errors.New("config: optional fields are not told to old layers")
			}
		}
		id := uint32(0x232566ac)
		if layer <= layerConfig {
			id = 0x330b4067
		}
		b.PutUint32(id)
		b.PutUint32(uint32(c.Flags))
		b.PutInt(c.Date)
		b.PutInt(c.Expires)
		b.PutBool(c.TestMode)
		b.PutInt(c.ThisDC)
		b.PutVectorHeader(len(c.DCOptions))
		for i := range c.DCOptions {
			if err := c.DCOptions[i].Encode(b); err != nil {
				return err
			}
		}
		b.PutString(c.DCTxtDomainName)
		const savedGIFs, favedStickers, pinned, pinnedInFolder = 200, 5, 5, 100
		for _, n := range []int{
			c.ChatSizeMax, c.MegagroupSizeMax, c.ForwardedCountMax,
			c.OnlineUpdatePeriodMs, c.OfflineBlurTimeoutMs, c.OfflineIdleTimeoutMs, c.OnlineCloudTimeoutMs,
			c.NotifyCloudDelayMs, c.NotifyDefaultDelayMs, c.PushChatPeriodMs, c.PushChatLimit,
			savedGIFs,
			c.EditTimeLimit, c.RevokeTimeLimit, c.RevokePmTimeLimit, c.RatingEDecay, c.StickersRecentLimit,
			favedStickers,
			c.ChannelsReadMediaPeriod,
			pinned, pinnedInFolder,
			c.CallReceiveTimeoutMs, c.CallRingTimeoutMs, c.CallConnectTimeoutMs, c.CallPacketTimeoutMs,
		} {
			b.PutInt(n)
		}
		b.PutString(c.MeURLPrefix)
		b.PutInt(c.CaptionLengthMax)
		b.PutInt(c.MessageLengthMax)
		b.PutInt(c.WebfileDCID)
		return nil
	})
}
