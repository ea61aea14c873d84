package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/mcmp/advertise"
)

// openAdvertise makes what announces the first MCMP listener, if that is wanted.
func (s *server) openAdvertise() error {
	a := s.conf.MCMP.Advertise
	if !a.Enabled {
		return nil
	}
	c := advertise.Config{
		Group:      netip.AddrPortFrom(netip.MustParseAddr(a.Group), uint16(a.Port)),
		TTL:        a.TTL,
		Interval:   a.Interval,
		Interfaces: a.Interfaces,
		Address:    s.announced(a.Address),
		Protocol:   "http",
		Host:       s.conf.Replica.Name,
		Log:        s.log,
	}
	if s.conf.MCMP.Listeners[0].TLS != nil {
		c.Protocol = "https"
	}
	var err error
	if c.Key, err = advertiseKey(s.conf); err != nil {
		return err
	}
	c.Keyed = a.SecurityKeyFile != ""
	if s.adverts, err = advertise.New(c); err != nil {
		return configError{fmt.Errorf("mcmp.advertise: %w", err)}
	}
	counter := func(name, help string, value func() uint64) {
		s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	counter("quorate_advertisements_sent_total", "Datagrams that announced this replica to workers.", s.adverts.Sent)
	counter("quorate_advertisements_failed_total", "Datagrams that could not be sent.", s.adverts.Failed)
	return nil
}

// advertiseKey reads mcmp.advertise.security_key_file, if there is one: a line.
func advertiseKey(c *config.Config) ([]byte, error) {
	file := c.MCMP.Advertise.SecurityKeyFile
	if file == "" {
		return nil, nil
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return nil, configError{fmt.Errorf("mcmp.advertise.security_key_file: %w", err)}
	}
	key = bytes.TrimRight(key, "\r\n")
	if err := advertise.CheckKey(key); err != nil {
		return nil, configError{fmt.Errorf("mcmp.advertise.security_key_file: %s: %w", file, err)}
	}
	return key, nil
}

// announced is the address that workers are told: the port that is open where none is
// given, as it may have been taken freely.
func (s *server) announced(given string) string {
	open := s.addresses.MCMP[0]
	if given == "" {
		return open
	}
	if _, _, err := net.SplitHostPort(given); err == nil {
		return given
	}
	_, port, _ := net.SplitHostPort(open)
	return net.JoinHostPort(given, port)
}
