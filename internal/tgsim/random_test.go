package tgsim

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tdp"
	"github.com/gotd/td/tg"
)

// functions of the layer, in order of their constructors.
func functions() []uint32 {
	var ids []uint32
	for id := range layerTypes().results {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// wrappers answer with what their query answers.
var wrappers = []string{
	"invokeAfterMsg", "invokeAfterMsgs", "initConnection", "invokeWithLayer", "invokeWithoutUpdates",
	"invokeWithMessagesRange", "invokeWithTakeout", "invokeWithBusinessConnection",
	"invokeWithGooglePlayIntegrity", "invokeWithApnsSecret", "invokeWithReCaptcha",
}

func TestEveryFunctionHasAResult(t *testing.T) {
	t.Parallel()
	l := layerTypes()
	for id, make := range l.constructors {
		name := methodName(id)
		v := make()
		if !strings.HasSuffix(reflect.TypeOf(v).Elem().Name(), "Request") || slices.Contains(wrappers, name) {
			continue
		}
		if _, ok := l.results[id]; ok {
			continue
		}
		if _, object := l.fields[reflect.TypeOf(v).Elem()]; object {
			continue // part of an answer, though its name ends so
		}
		t.Errorf("%s has no result", name)
	}
	for class, members := range l.classes {
		if len(members) == 0 || l.height(members[0]) >= unmeasured {
			t.Errorf("%v has no value", class)
		}
	}
}

// resultProbe is an Invoker that notes what a method of tg.Client sends and
// what it decodes the answer into.
type resultProbe struct {
	in  bin.Encoder
	out bin.Decoder
}

var errProbe = errors.New("tgsim: a probe sends nothing")

func (p *resultProbe) Invoke(_ context.Context, in bin.Encoder, out bin.Decoder) error {
	p.in, p.out = in, out
	return errProbe
}

// functionResults maps functions to what gotd decodes their answers into.
func functionResults() map[uint32]reflect.Type {
	probe := &resultProbe{}
	client := reflect.ValueOf(tg.NewClient(probe))
	ctx := reflect.ValueOf(context.Background())
	out := map[uint32]reflect.Type{}
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type().NumIn() == 0 || m.Type().In(0) != reflect.TypeFor[context.Context]() {
			continue
		}
		args := []reflect.Value{ctx}
		for j := 1; j < m.Type().NumIn(); j++ {
			arg := reflect.Zero(m.Type().In(j))
			if arg.Kind() == reflect.Pointer {
				arg = reflect.New(arg.Type().Elem())
			}
			args = append(args, arg)
		}
		probe.in = nil
		m.Call(args)
		if req, ok := probe.in.(interface{ TypeID() uint32 }); ok {
			out[req.TypeID()] = reflect.TypeOf(probe.out).Elem()
		}
	}
	return out
}

// TestResultLines compares results.txt with gotd's client. With
// UPDATE_RESULTS=1 in the environment it writes the file instead.
func TestResultLines(t *testing.T) {
	t.Parallel()
	classes := map[string]string{}
	for name := range tg.ClassConstructorsMap() {
		classes[className(name)] = name
	}
	by := map[string][]string{}
	for id, out := range functionResults() {
		name := ""
		v, ok := reflect.New(out).Interface().(interface{ TypeInfo() tdp.Type })
		switch {
		case strings.HasSuffix(out.Name(), "Box"):
			name = classes[className(out.Field(0).Type.Name())]
		case strings.HasSuffix(out.Name(), "Vector"):
			elem := out.Field(0).Type.Elem()
			switch elem.Kind() {
			case reflect.Int:
				name = "Vector int"
			case reflect.Int64:
				name = "Vector long"
			case reflect.Interface:
				name = "Vector " + classes[className(elem.Name())]
			default:
				name = "Vector " + reflect.New(elem).Interface().(interface{ TypeInfo() tdp.Type }).TypeInfo().Name
			}
		case ok:
			name = v.TypeInfo().Name
		}
		by[name] = append(by[name], methodName(id))
	}
	var want strings.Builder
	for _, name := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[name])
		want.WriteString(name + ": " + strings.Join(by[name], " ") + "\n")
	}
	if os.Getenv("UPDATE_RESULTS") == "1" {
		if err := os.WriteFile("results.txt", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if resultLines != want.String() {
		t.Error("results.txt is not what gotd's client says: run UPDATE_RESULTS=1 go test -run TestResultLines ./internal/tgsim")
	}
}

// TestRandomAnswers: a random request of every function is answered with what
// gotd decodes, to the last byte, into what the function declares.
func TestRandomAnswers(t *testing.T) {
	t.Parallel()
	srv := &Server{cfg: Config{Seed: 1}}
	l := layerTypes()
	declared := functionResults()
	var slowest time.Duration
	largest := 0
	const rounds = 4
	for _, id := range functions() {
		r := rand.New(rand.NewPCG(uint64(id), 2))
		for range rounds {
			c := &call{unwrapped: unwrapped{method: id, body: encoded(t, l.random(r, reflect.TypeOf(l.constructors[id]()).Elem()))}}
			begin := time.Now()
			answer, failed := srv.randomAnswer(c)
			if failed != nil {
				t.Fatalf("%s: %s", methodName(id), failed.text)
			}
			b := encoded(t, answer)
			slowest = max(slowest, time.Since(begin))
			largest = max(largest, len(b))
			got := reflect.New(declared[id]).Interface().(bin.Object)
			buf := &bin.Buffer{Buf: b}
			if err := got.Decode(buf); err != nil || buf.Len() != 0 {
				t.Fatalf("%s: %d bytes left, %v", methodName(id), buf.Len(), err)
			}
			if !bytes.Equal(encoded(t, got), b) {
				t.Fatalf("%s: the answer changes when it is decoded", methodName(id))
			}
			if again, _ := srv.randomAnswer(c); !bytes.Equal(encoded(t, again), b) {
				t.Fatalf("%s: another answer to the same request", methodName(id))
			}
		}
	}
	if largest > 64<<10 {
		t.Errorf("an answer has %d bytes", largest)
	}
	t.Logf("%d functions, slowest %v, largest %d bytes", len(functions()), slowest, largest)
}

// TestRandomRequests: whatever is asked of the server, it answers with an
// error or with what the function declares.
func TestRandomRequests(t *testing.T) {
	t.Parallel()
	srv, err := Listen(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.ln.Close()
	u, err := srv.AddUser(User{FirstName: "Ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.AddChannel("Room", "room", u.ID); err != nil {
		t.Fatal(err)
	}
	l := layerTypes()
	declared := functionResults()
	sess := newSession(srv, testKey(), 1)
	for _, id := range functions() {
		if strings.HasPrefix(methodName(id), "auth.") {
			continue // these change the key itself
		}
		r := rand.New(rand.NewPCG(uint64(id), 3))
		for range 20 {
			req := encoded(t, l.random(r, reflect.TypeOf(l.constructors[id]()).Elem()))
			c := &call{sess: sess, unwrapped: unwrapped{method: id, body: req}}
			answer, failed := srv.invoke(c, u.ID, &Call{})
			if failed != nil {
				if failed.text == "INPUT_FETCH_ERROR" {
					t.Fatalf("%s: a good request is not understood", methodName(id))
				}
				continue
			}
			got := reflect.New(declared[id]).Interface().(bin.Object)
			buf := &bin.Buffer{Buf: encoded(t, answer)}
			if err := got.Decode(buf); err != nil || buf.Len() != 0 {
				t.Fatalf("%s: %d bytes left, %v", methodName(id), buf.Len(), err)
			}
		}
	}
}

func TestRandomAnswersDifferBySeed(t *testing.T) {
	t.Parallel()
	body := encoded(t, &tg.ContactsGetTopPeersRequest{Hash: 1})
	seen := map[string]struct{}{}
	for seed := range uint64(8) {
		srv := &Server{cfg: Config{Seed: seed}}
		answer, failed := srv.randomAnswer(&call{unwrapped: unwrapped{method: tg.ContactsGetTopPeersRequestTypeID, body: body}})
		if failed != nil {
			t.Fatal(failed.text)
		}
		seen[string(encoded(t, answer))] = struct{}{}
	}
	if len(seen) < 2 {
		t.Error("eight seeds gave one answer")
	}
}

func TestRandomAnswerRefuses(t *testing.T) {
	t.Parallel()
	srv := &Server{}
	body := encoded(t, &tg.ContactsBlockRequest{ID: &tg.InputPeerSelf{}})
	tests := []struct {
		name   string
		method uint32
		body   []byte
		want   string
	}{
		{"a byte too many", tg.ContactsBlockRequestTypeID, append(slices.Clone(body), 0, 0, 0, 0), "INPUT_FETCH_ERROR"},
		{"cut short", tg.ContactsBlockRequestTypeID, body[:len(body)-4], "INPUT_FETCH_ERROR"},
		{"not a function", tg.InputPeerSelfTypeID, encoded(t, &tg.InputPeerSelf{}), "INPUT_METHOD_INVALID"},
		{"not in the layer", 12345, []byte{0x39, 0x30, 0, 0}, "INPUT_METHOD_INVALID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, failed := srv.randomAnswer(&call{unwrapped: unwrapped{method: tt.method, body: tt.body}})
			if failed == nil || failed.text != tt.want || failed.code != 400 {
				t.Errorf("error = %+v, want %s", failed, tt.want)
			}
		})
	}
}

func TestUnwrapEveryWrapper(t *testing.T) {
	t.Parallel()
	query := &tg.UpdatesGetStateRequest{}
	for _, v := range []bin.Object{
		&tg.InvokeWithTakeoutRequest{TakeoutID: 1, Query: query},
		&tg.InvokeWithMessagesRangeRequest{Range: tg.MessageRange{MinID: 1}, Query: query},
		&tg.InvokeWithBusinessConnectionRequest{ConnectionID: "x", Query: query},
		&tg.InvokeWithReCaptchaRequest{Token: "x", Query: query},
		&tg.InvokeWithGooglePlayIntegrityRequest{Nonce: "n", Token: "t", Query: query},
		&tg.InvokeWithApnsSecretRequest{Nonce: "n", Secret: "s", Query: query},
	} {
		b := encoded(t, v)
		if u := unwrap(testKey(), b); u.refused != nil || u.method != tg.UpdatesGetStateRequestTypeID {
			t.Errorf("%T: %+v", v, u)
		}
		if u := unwrap(testKey(), b[:6]); u.refused == nil {
			t.Errorf("%T: six bytes of it pass", v)
		}
	}
}

func BenchmarkRandomAnswer(b *testing.B) {
	srv := &Server{}
	ids := functions()
	l := layerTypes()
	var calls []*call
	for i, id := range ids {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		calls = append(calls, &call{unwrapped: unwrapped{method: id, body: encoded(b, l.random(r, reflect.TypeOf(l.constructors[id]()).Elem()))}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		answer, failed := srv.randomAnswer(calls[i%len(calls)])
		if failed != nil {
			b.Fatal(failed.text)
		}
		_ = encoded(b, answer)
	}
}
