package tljson

import (
	"encoding/json"
	"slices"
	"strings"
)

// Example returns parameters for a method, with those alone that it requires. They
// can be decoded; whether Telegram takes them is another matter, for what they name
// may not exist. A name that is no method has none.
func Example(method string) json.RawMessage {
	sig, ok := theSchema().signature(method)
	if !ok || !sig.Function {
		return nil
	}
	const deepest = 8 // more than any method needs; TestExamples makes all of them
	text, _ := exampleFields(sig, "", deepest)
	return json.RawMessage(text)
}

// exampleFields is an object with what a signature requires, whose objects are not
// nested deeper than depth. name goes into its "_" unless it is "".
func exampleFields(sig signature, name string, depth int) (text string, ok bool) {
	var fields []string
	if name != "" {
		fields = append(fields, `"_":"`+name+`"`)
	}
	for _, p := range sig.Params {
		if p.Type == "#" || p.Word != "" || isRandom(sig, p) || sig.Function && defaulted(sig.Name, p) {
			continue
		}
		value, ok := exampleOf(p, depth, sig.Function)
		if !ok {
			return "", false
		}
		fields = append(fields, `"`+p.Name+`":`+value)
	}
	return "{" + strings.Join(fields, ",") + "}", true
}

// exampleOf is a value for a parameter. A vector has one element, or none if it need
// not be filled.
func exampleOf(p param, depth int, filled bool) (text string, ok bool) {
	if e := elementOf(p.Type); e != p.Type {
		if !filled {
			return "[]", true
		}
		text, ok := exampleOf(param{Name: p.Name, Type: e}, depth, true)
		return "[" + text + "]", ok
	}
	for _, key := range []string{p.Type + " " + p.Name, p.Type} {
		if text, ok := samples[key]; ok {
			return text, true
		}
	}
	return exampleObject(p.Type, depth)
}

// exampleObject is the flattest object of a class; there may be none that is flat
// enough.
func exampleObject(class string, depth int) (text string, ok bool) {
	names := theSchema().classes[class]
	single := len(names) == 1
	if n := preferred[class]; n != "" {
		names = []string{n}
	} else if full := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasSuffix(n, "Empty") }); len(full) > 0 {
		names = full
	}
	for limit := range depth {
		for _, n := range names {
			sig, _ := theSchema().signature(n) // it is in the schema
			named := n
			if single {
				named = ""
			}
			if text, ok := exampleFields(sig, named, limit); ok {
				return text, true
			}
		}
	}
	return "", false
}

// preferred are the constructors that say more than the flattest of their classes.
var preferred = map[string]string{
	"ChannelMessagesFilter":   "channelMessagesFilterEmpty", // all messages
	"ChatReactions":           "chatReactionsAll",
	"EmojiStatus":             "emojiStatus",
	"InputAiComposeTone":      "inputAiComposeToneSlug",
	"InputBotApp":             "inputBotAppShortName",
	"InputBotInlineMessage":   "inputBotInlineMessageText",
	"InputChatPhoto":          "inputChatUploadedPhoto",
	"InputFileLocation":       "inputDocumentFileLocation",
	"InputGroupCall":          "inputGroupCallSlug",
	"InputInvoice":            "inputInvoiceSlug",
	"InputMessage":            "inputMessageID",
	"InputPaymentCredentials": "inputPaymentCredentialsSaved",
	"InputReplyTo":            "inputReplyToMessage",
	"InputSavedStarGift":      "inputSavedStarGiftSlug",
	"InputStickerSet":         "inputStickerSetShortName",
	"InputTheme":              "inputThemeSlug",
	"InputWallPaper":          "inputWallPaperSlug",
	"KeyboardButton":          "keyboardButtonRequestPeer",
	"MessagesFilter":          "inputMessagesFilterEmpty", // all messages
	"Reaction":                "reactionEmoji",
}

// samples are values by type, or by type and name.
var samples = map[string]string{
	"Bool":                  `true`,
	"InputChannel":          `"@telegram"`,
	"InputDialogPeer":       `"@durov"`,
	"InputFile":             `{"_":"file","path":"photo.jpg"}`,
	"InputMedia":            `{"_":"file","path":"photo.jpg"}`,
	"InputNotifyPeer":       `"@durov"`,
	"InputPeer":             `"@durov"`,
	"InputPeer offset_peer": `"me"`,
	"InputUser":             `"@durov"`,
	"InputUser bot":         `"@gif"`,
	"InputUser bot_id":      `"@gif"`,
	"!X":                    `{"_":"help.getConfig"}`,

	"bytes":  `"aGVsbG8="`,
	"double": `52.52`,
	"int":    `1`,
	"int128": `"000102030405060708090a0b0c0d0e0f"`,
	"int256": `"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"`,
	"long":   `"1234567890"`,
	"string": `"example"`,

	"double long": `13.4`,

	"int authorization_ttl_days": `180`,
	"int cache_time":             `300`,
	"int count":                  `10`,
	"int date":                   `1767225600`,
	"int dc_id":                  `2`,
	"int expires_at":             `1767225600`,
	"int file_part":              `0`,
	"int flags":                  `0`,
	"int fwd_limit":              `50`,
	"int id":                     `42`,
	"int layer":                  `228`,
	"int limit":                  `20`,
	"int max_date":               `1767225600`,
	"int max_id":                 `42`,
	"int messages":               `42`,
	"int msg_id":                 `42`,
	"int offset_id":              `0`,
	"int offset_rate":            `0`,
	"int period":                 `86400`,
	"int random_length":          `256`,
	"int rating":                 `5`,
	"int read_max_id":            `42`,
	"int reply_to_msg_id":        `42`,
	"int seconds":                `30`,
	"int story_id":               `7`,
	"int version":                `0`,

	"long chat_id":     `"987654321"`,
	"long document_id": `"5368324170671202286"`,
	"long emoji_id":    `"5368324170671202286"`,
	"long file_id":     `"5368324170671202286"`,

	"string about":            `"Where we plan it"`,
	"string address":          `"Unter den Linden 1, Berlin"`,
	"string data":             `"{}"`,
	"string email":            `"ada@example.com"`,
	"string emoji":            `"👍"`,
	"string emoticon":         `"👍"`,
	"string file_name":        `"photo.jpg"`,
	"string first_name":       `"Ada"`,
	"string format":           `"tdesktop"`,
	"string hash":             `"AbCdEfGhIjKlMnOp"`,
	"string lang_code":        `"en"`,
	"string lang_codes":       `"en"`,
	"string lang_pack":        `"tdesktop"`,
	"string last_name":        `"Lovelace"`,
	"string link":             `"https://t.me/+AbCdEfGhIjKlMnOp"`,
	"string message":          `"Hello"`,
	"string mime_type":        `"image/jpeg"`,
	"string order":            `"durov"`,
	"string phone":            `"+491701234567"`,
	"string phone_code":       `"12345"`,
	"string phone_number":     `"+491701234567"`,
	"string phones":           `"+491701234567"`,
	"string platform":         `"tdesktop"`,
	"string q":                `"holiday"`,
	"string query":            `"cats"`,
	"string short_name":       `"AnimatedEmojies"`,
	"string system_lang_code": `"en"`,
	"string thumb_size":       `""`,
	"string text":             `"Hello"`,
	"string title":            `"Weekend trip"`,
	"string to_lang":          `"en"`,
	"string url":              `"https://example.com"`,
	"string username":         `"durov"`,
}
