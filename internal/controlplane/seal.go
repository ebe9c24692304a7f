package controlplane

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/ca"
	"fairlead.dev/fairlead/internal/plan"
)

// sealAge is how long a key seals the tokens of sessions; it opens them for as long again.
const sealAge = 30 * 24 * time.Hour

// sealKeys are what the keys of all hosts are made of, in the order of plan.Seal. Nothing of them is stored: they follow from
// the key of the CA and the time, so that all replicas have the same.
type sealKeys [][]byte

func isSeal(name string) bool { return plan.KindOf(name) == plan.NameSeal }

// seal gives the keys of one host, nil where there is no CA yet.
func (k sealKeys) seal(name string) plan.Resource { //nolint:ireturn // what native.Compile passes on
	if len(k) == 0 {
		return nil
	}
	out := &plan.Seal{Name: name}
	for _, secret := range k {
		key, err := hkdf.Key(sha256.New, secret, nil, name, 32)
		if err != nil { // only of lengths that are not asked for
			return nil
		}
		out.Keys = append(out.Keys, base64.StdEncoding.EncodeToString(key))
	}
	return out
}

// sealsOf gives the keys that a CA stands for at a time: that of now, then that of before and that of after, which a replica
// whose clock is ahead seals with.
func sealsOf(c *ca.CA, now time.Time) (sealKeys, error) {
	age := now.Unix() / int64(sealAge/time.Second)
	var out sealKeys
	for _, n := range []int64{age, age - 1, age + 1} {
		secret, err := c.Secret("fairlead session persistence " + strconv.FormatInt(n, 10))
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}

// sealing is what keys are made of, and what they were made of before another CA took over.
type sealing struct {
	by     *ca.CA
	former sealKeys
}

// keys gives those of a CA at a time, and behind them those of the one before it. A CA that is read again is the same one.
func (s *sealing) keys(current *ca.CA, now time.Time) (sealKeys, error) {
	own, err := sealsOf(current, now)
	if err != nil {
		return nil, err
	}
	if s.by != nil && s.by != current {
		before, err := sealsOf(s.by, now)
		if err == nil && !bytes.Equal(before[0], own[0]) {
			s.former = before
		}
	}
	s.by = current
	return append(own, s.former...), nil
}

// sealSessions keeps the keys in force that tokens of sessions are sealed with, until ctx ends. Where another CA takes over,
// what was sealed before is opened for as long as this process runs.
func (p *ControlPlane) sealSessions(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var s sealing
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.authority.replaced:
		case <-timer.C:
		}
		now := time.Now()
		keys, err := s.keys(p.authority.current(), now)
		if err != nil {
			p.o.Logger.LogAttrs(ctx, slog.LevelError, "no keys for the tokens of sessions: sessions are not kept", slog.Any("error", err))
			return nil
		}
		p.engine.inbox.seal(keys)
		next := now.Unix()/int64(sealAge/time.Second) + 1
		timer.Reset(time.Until(time.Unix(next*int64(sealAge/time.Second), 0)))
	}
}
