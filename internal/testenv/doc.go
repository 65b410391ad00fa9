//go:build unix

// Package testenv gives tests real servers: Redis and Postgres, one of each for
// every test that asks, with nothing left behind.
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestStore(t *testing.T) {
//		redisURL := testenv.Redis(t)    // empty, nobody else's
//		pgURL := testenv.Postgres(t)    // an empty database of its own
//	}
//
// Where a server comes from, first match wins:
//
//   - TEST_REDIS_SERVER: the path of a redis-server program (or "docker") that
//     every test starts for itself.
//   - TEST_REDIS_URL, TEST_DATABASE_URL: running servers. A test gets a database
//     number of that Redis, and a new database of that Postgres.
//   - Installed programs: redis-server or valkey-server; initdb and postgres, on
//     PATH or where packages put them. A process of its own for every Redis; one
//     Postgres for the whole test process.
//   - Docker, if its daemon answers.
//
// Otherwise the test fails with one sentence that says what to install or set.
//
// Only a Redis of its own isolates fully: publish and subscribe ignore database
// numbers, so two tests on one TEST_REDIS_URL hear each other's channels. Roles
// are likewise shared by all databases of one Postgres server.
//
// The program in cmd/testenv wraps a whole test run: it installs what is missing
// where it may, starts one Redis and one Postgres, sets the variables above and
// runs a command. Everything listens on the loopback address alone. What this
// package starts is stopped at cleanup, and by a watchdog if the test process
// dies before that.
//
// It imports nothing else of this module, and is for tests only: durability is
// switched off.
package testenv
