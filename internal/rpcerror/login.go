package rpcerror

// Step is what an error of a login asks for next.
type Step string

// The steps. An error without one ends the login.
const (
	AskPhone      Step = "phone"          // for another phone number
	AskCode       Step = "code"           // for the code once more: it was wrong
	SendCode      Step = "send_code"      // the code has run out
	NoResend      Step = "no_resend"      // the code cannot be sent in another way
	AskPassword   Step = "password"       // the account has a password
	WrongPassword Step = "wrong_password" // it was wrong
	SameQuestion  Step = "same_question"  // Telegram's question about the password has run out
	StartOver     Step = "start_over"     // with the first call
	NewToken      Step = "new_token"      // the QR code's token has run out
	NoAccount     Step = "no_account"     // nobody has the phone number
)

// LoginFault is what is known of an error of a login.
type LoginFault struct {
	Step Step
	Says string // to the operator, if the login ends with it
}

// logins has what the table does not: it is read by those who log in alone.
var logins = map[string]LoginFault{
	"PHONE_NUMBER_INVALID": {AskPhone, "it is no phone number that Telegram knows; write it with the country's code, as +15550001234"},
	"PHONE_CODE_INVALID":   {AskCode, "the code is wrong"},
	"PHONE_CODE_EMPTY":     {AskCode, "the code is empty"},
	"CODE_INVALID":         {AskCode, "the code is wrong"},
	"CODE_EMPTY":           {AskCode, "the code is empty"},

	"PHONE_CODE_EXPIRED":    {SendCode, "the code has run out"},
	"PHONE_CODE_HASH_EMPTY": {SendCode, "the code has run out"},
	"PHONE_HASH_EXPIRED":    {SendCode, "the code has run out"},
	"CODE_HASH_INVALID":     {SendCode, "the code has run out"},
	"EMAIL_VERIFY_EXPIRED":  {SendCode, "the code has run out"},
	"EMAIL_HASH_EXPIRED":    {SendCode, "the code has run out"},

	"SEND_CODE_UNAVAILABLE":  {NoResend, "Telegram has no other way to send a code"},
	"SMS_CODE_CREATE_FAILED": {"", "Telegram could not make a code; try again later"},

	"SESSION_PASSWORD_NEEDED": {AskPassword, "the account has a password"},
	"PASSWORD_HASH_INVALID":   {WrongPassword, "the password is wrong"},
	"SRP_ID_INVALID":          {SameQuestion, "Telegram's question about the password has run out"},
	"SRP_PASSWORD_CHANGED":    {SameQuestion, "the password has been changed meanwhile"},

	"AUTH_RESTART":         {StartOver, "Telegram wants the login to start over"},
	"AUTH_RESTART_%d":      {StartOver, "Telegram wants the login to start over"},
	"PASSKEY_AUTH_RESTART": {StartOver, "Telegram wants the login to start over"},

	"AUTH_TOKEN_EXPIRED":          {NewToken, "the QR code has run out"},
	"AUTH_TOKEN_INVALID":          {NewToken, "the QR code is not valid any more"},
	"AUTH_TOKEN_INVALID2":         {NewToken, "the QR code is not valid any more"},
	"AUTH_TOKEN_INVALIDX":         {NewToken, "the QR code is not valid any more"},
	"AUTH_TOKEN_ALREADY_ACCEPTED": {NewToken, "the QR code was used already"},

	"PHONE_NUMBER_UNOCCUPIED": {NoAccount, "nobody has an account with this phone number"},

	"PHONE_NUMBER_BANNED":               {"", "Telegram has banned this phone number"},
	"PHONE_NUMBER_FLOOD":                {"", "a code was asked for too often with this phone number; try again in a day"},
	"PHONE_PASSWORD_FLOOD":              {"", "somebody tried to log in too often; try again in a day"},
	"PHONE_PASSWORD_PROTECTED":          {"", "the phone number is protected by a password; log in from an official app first"},
	"PHONE_NUMBER_APP_SIGNUP_FORBIDDEN": {"", "the phone number cannot be registered with this application"},
	"SIGN_IN_FAILED":                    {"", "Telegram failed while it signed in; try again later"},
	"UPDATE_APP_TO_LOGIN":               {"", "Telegram lets this account log in from official apps only"},
	"API_ID_INVALID":                    {"", "the application's id and hash do not belong together; take both from my.telegram.org"},
	"API_ID_PUBLISHED_FLOOD":            {"", "the application's id was published, and Telegram lets nobody log in with it; get one at my.telegram.org"},
	"ACCESS_TOKEN_INVALID":              {"", "the bot's token is wrong; ask @BotFather for it"},
	"ACCESS_TOKEN_EXPIRED":              {"", "the bot's token was replaced; ask @BotFather for the new one"},
}

// ClassifyLogin looks at an error of a login; the zero LoginFault if it is not known.
func ClassifyLogin(name string) LoginFault {
	pattern, _ := shape(name)
	if f, ok := logins[name]; ok { // AUTH_TOKEN_INVALID2
		return f
	}
	return logins[pattern]
}
