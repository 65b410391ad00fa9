package rpcerror

// Class is what an error means.
type Class string

// The classes. What is done about each is its Act.
const (
	Flood     Class = "flood"     // the account called a method too often
	Slowmode  Class = "slowmode"  // it wrote into a chat too soon
	Transfers Class = "transfers" // it moves files too fast for one without Premium

	Elsewhere Class = "elsewhere" // the call belongs to another data center

	Trouble   Class = "trouble"   // Telegram failed
	Duplicate Class = "duplicate" // a call with this random_id runs, or ran
	Uninited  Class = "uninited"  // the connection has not said who it is
	Unbound   Class = "unbound"   // the auth key is temporary, and bound to none
	NotRun    Class = "not_run"   // the call before it did not succeed

	Restrict Class = "restrict"  // the account may not write to strangers
	Freeze   Class = "freeze"    // the account may read, and little else
	Login    Class = "login"     // the auth key is good for nothing any more
	KeyTwice Class = "key_twice" // nor is this one: it was used in two places at once
	Ban      Class = "ban"       // the account is no more

	Address Class = "address" // the account cannot name the peer so
	Message Class = "message" // a peer was named by a message that is not there

	Private    Class = "private"     // the account is not in the channel or group
	Forbidden  Class = "forbidden"   // the account may not do this to the peer
	Payment    Class = "payment"     // the peer wants to be paid
	Gone       Class = "gone"        // the peer has deleted its account
	NoName     Class = "no_name"     // nobody has the username
	BadName    Class = "bad_name"    // nobody could have it
	NoPhone    Class = "no_phone"    // nobody shows this phone number to the account
	BadInvite  Class = "bad_invite"  // the invite link leads nowhere
	NotForBots Class = "not_for_bot" // the method is for users
	StaleFile  Class = "stale_file"  // a file reference has run out
	Onboarding Class = "onboarding"  // it is about logging in
	Fail       Class = "fail"        // anything else: the call is refused
)

// Act is what is done about an error.
type Act string

// The acts.
const (
	Wait     Act = "wait"  // until the pause is over: nothing blocked is sent, and no attempt is spent
	Move     Act = "move"  // make the call at the data center that the error names
	Retry    Act = "retry" // after a growing pause; each time spends an attempt
	Park     Act = "park"  // the account's status changes, and its jobs wait
	Look     Act = "look"  // for another way to the peer, and make the call once more
	EndsCall Act = "fail"  // the call fails, and keeps the error's name
)

var acts = map[Class]Act{
	Flood: Wait, Slowmode: Wait, Transfers: Wait,
	Elsewhere: Move,
	Trouble:   Retry, Duplicate: Retry, Uninited: Retry, Unbound: Retry, NotRun: Retry,
	Restrict: Park, Freeze: Park, Login: Park, KeyTwice: Park, Ban: Park,
	Address: Look, Message: Look,
	Private: EndsCall, Forbidden: EndsCall, Payment: EndsCall, Gone: EndsCall, NoName: EndsCall, BadName: EndsCall,
	NoPhone: EndsCall, BadInvite: EndsCall, NotForBots: EndsCall, StaleFile: EndsCall, Onboarding: EndsCall, Fail: EndsCall,
}

// Act is what is done about errors of the class.
func (c Class) Act() Act { return acts[c] }
