package handlers

// Sent is sent, for tests of answers that the simulator does not give.
var Sent = sent
