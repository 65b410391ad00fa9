package webhook_test

import (
	"testing"

	"github.com/tgswitchboard/switchboard/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
