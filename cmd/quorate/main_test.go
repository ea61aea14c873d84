package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asQuorate makes a child of the test binary the program itself, so that tests
// see real processes without building anything first.
const asQuorate = "QUORATE_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asQuorate) == "1" {
		main()
	}
	os.Setenv(asQuorate, "1")
	goleak.VerifyTestMain(m)
}
