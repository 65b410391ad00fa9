package login

import (
	"context"
	"time"
)

// Asker knows what a login needs, or asks somebody. An error of its own ends the login
// and is returned as it is. Texts may hold what Telegram wrote.
type Asker interface {
	// Say tells how the login goes on.
	Say(text string)
	// Phone is the phone number, with the country's code. It is asked for again if
	// Telegram knows no such number.
	Phone(ctx context.Context) (string, error)
	// Code is the code that was sent, or resend for another way of sending it. It is
	// asked for again if the code was wrong.
	Code(ctx context.Context, s Sent) (code string, resend bool, err error)
	// Another tells whether a new code shall be sent in the place of one that has run out.
	Another(ctx context.Context) (bool, error)
	// Password is the account's 2FA password. It is asked for again if it was wrong.
	Password(ctx context.Context, hint string) (string, error)
	// ShowQR shows the QR code of url, which the owner scans in an official app. It is
	// called with a new one before the old has run out.
	ShowQR(ctx context.Context, url string, until time.Time) error
}

// Sent is a code on its way.
type Sent struct {
	How    string    // how it comes and what to type, as a sentence
	Next   string    // how it would come if it was sent again; "" if Telegram has no other way
	NextAt time.Time // when that is allowed

	hash  string
	email bool // it came by email
}
