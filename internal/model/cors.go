package model

import "time"

// CORS says which pages of other origins may read the answers of a rule (the CORS protocol of the Fetch standard, §3.3).
type CORS struct {
	// Origins are those that may. One that matches "*" is for all of them, as in Envoy.
	Origins []StringMatch
	// Methods, Headers and Expose are the values of Access-Control-Allow-Methods, -Allow-Headers and -Expose-Headers, each
	// left out where it is empty. Methods or Headers of "*" are what the preflight asks for, as in Envoy: beside Credentials
	// browsers take the star for a name.
	Methods, Headers, Expose string
	// MaxAge is how long a browser may remember the answer to a preflight, in whole seconds; 0 says nothing of it.
	MaxAge      time.Duration
	Credentials bool
	// Ignore has preflights of other origins answered, with no more than 200; otherwise they go on to the app.
	Ignore bool
}
