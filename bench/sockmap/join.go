package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// mode is a way to join sockets, or none.
type mode struct {
	name string
	// toApp: what the passive end sends is moved, too; in a pod, that is what the sidecar answers to a captured app.
	toApp bool
	// most is how many bytes may wait at the receiver before its sender is left to TCP for good; 0 does not look.
	most int32
	off  bool
}

// bound is what may wait at a receiver.
const bound = 256 << 10

// modes are what is compared.
func modes() []mode {
	return []mode{
		{name: "TCP", off: true},
		{name: "joined", toApp: true},
		{name: "joined, bounded", toApp: true, most: bound},
		{name: "to the sidecar only, bounded", most: bound},
	}
}

// The layout of a key: the cookie of the network namespace, the sequence number that this end sends next, the one that it
// expects, the port of the end that has connected, and nothing. Both ends know all of it when the connection is made, it is
// the same whatever addresses were rewritten in between, and 64 bits of it are what the kernel has drawn.
const (
	keySize = 24
	// own and peer are where the keys of both ends are on the stack of the program that makes them.
	own, peer = -24, -56
	// left is where a record, which begins with the peer's key, says that this sender is left to TCP.
	left       = 24
	recordSize = 32
)

// Offsets in the kernel's struct bpf_sock_ops and struct sk_msg_md.
const (
	opsOp, opsRemotePort, opsLocalPort = 0, 64, 68
	opsRcvNxt, opsSndNxt, opsSocket    = 100, 104, 184
	msgSocket                          = 72

	activeEstablished, passiveEstablished = 4, 5

	meshPort = 15008 // between pods: no peer in the same namespace
	ingress  = 1
)

// joint is a mode in force.
type joint struct {
	ends    *ebpf.Map // key -> socket
	senders *ebpf.Map // socket -> record
	raw     *ebpf.Map // key -> the address of the kernel's struct sock
	enlist  *ebpf.Program
	move    *ebpf.Program
	at      link.Link
}

// license is for the kernel, which lets no other program call what these call.
const license = "GPL"

// join loads the programs of a mode and lets the sockets that a cgroup's processes will connect or accept pass them.
func join(cgroup string, m mode) (*joint, error) {
	j := &joint{}
	if err := j.load(m); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	err := link.RawAttachProgram(link.RawAttachProgramOptions{Target: j.ends.FD(), Program: j.move, Attach: ebpf.AttachSkMsgVerdict})
	if err == nil {
		j.at, err = link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: ebpf.AttachCGroupSockOps, Program: j.enlist})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attaching to %s: %w", cgroup, err), j.Close())
	}
	return j, nil
}

func (j *joint) load(m mode) (err error) {
	if j.ends, err = ebpf.NewMap(&ebpf.MapSpec{Name: "ends", Type: ebpf.SockHash, KeySize: keySize, ValueSize: 8, MaxEntries: 1 << 16}); err != nil {
		return fmt.Errorf("map of sockets: %w", err)
	}
	if j.raw, err = ebpf.NewMap(&ebpf.MapSpec{Name: "raw", Type: ebpf.LRUHash, KeySize: keySize, ValueSize: 8, MaxEntries: 1 << 16}); err != nil {
		return fmt.Errorf("map of addresses: %w", err)
	}
	const noPreallocation = 1
	u32 := &btf.Int{Name: "u32", Size: 4}
	record := &btf.Array{Index: u32, Type: &btf.Int{Name: "u64", Size: 8}, Nelems: recordSize / 8}
	if j.senders, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "senders", Type: ebpf.SkStorage, Flags: noPreallocation, KeySize: 4, ValueSize: recordSize, Key: u32, Value: record,
	}); err != nil {
		return fmt.Errorf("storage of sockets: %w", err)
	}
	if j.enlist, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "enlist", Type: ebpf.SockOps, AttachType: ebpf.AttachCGroupSockOps, License: license, Instructions: j.enlisting(m),
	}); err != nil {
		return fmt.Errorf("program for new connections: %w", err)
	}
	moving, err := j.moving(m)
	if err != nil {
		return err
	}
	if j.move, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "move", Type: ebpf.SkMsg, AttachType: ebpf.AttachSkMsgVerdict, License: license, Instructions: moving,
	}); err != nil {
		return fmt.Errorf("program for messages: %w", err)
	}
	return nil
}

// enlisting notes a connection's end at the moment it is established: its key, and whose key its messages go to.
func (j *joint) enlisting(m mode) asm.Instructions {
	const ctx, op, port, sock = asm.R6, asm.R7, asm.R8, asm.R9
	out := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(op, ctx, opsOp, asm.Word),
		asm.LoadMem(asm.R1, ctx, opsLocalPort, asm.Word),
		asm.LoadMem(asm.R2, ctx, opsRemotePort, asm.Word),
		asm.HostTo(asm.BE, asm.R2, asm.Word),
		asm.JEq.Imm(asm.R1, meshPort, "out"),
		asm.JEq.Imm(asm.R2, meshPort, "out"),
		asm.Mov.Reg(port, asm.R1),
		asm.JEq.Imm(op, activeEstablished, "known"),
		asm.Mov.Reg(port, asm.R2),
		asm.JNE.Imm(op, passiveEstablished, "out"),
		asm.Mov.Reg(asm.R1, ctx).WithSymbol("known"),
		asm.FnGetNetnsCookie.Call(),
		asm.StoreMem(asm.RFP, own, asm.R0, asm.DWord),
		asm.StoreMem(asm.RFP, peer, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, ctx, opsSndNxt, asm.Word),
		asm.LoadMem(asm.R2, ctx, opsRcvNxt, asm.Word),
		asm.StoreMem(asm.RFP, own+8, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, own+12, asm.R2, asm.Word),
		asm.StoreMem(asm.RFP, peer+8, asm.R2, asm.Word),
		asm.StoreMem(asm.RFP, peer+12, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, own+16, port, asm.DWord),
		asm.StoreMem(asm.RFP, peer+16, port, asm.DWord),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, peer+left, asm.R1, asm.DWord),
	}
	if !m.toApp {
		out = append(
			out,
			asm.JNE.Imm(op, passiveEstablished, "decided"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.RFP, peer+left, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("decided"),
		)
	}
	return append(
		out,
		asm.LoadMem(sock, ctx, opsSocket, asm.DWord),
		asm.JEq.Imm(sock, 0, "out"),
		asm.LoadMapPtr(asm.R1, j.senders.FD()),
		asm.Mov.Reg(asm.R2, sock),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, peer),
		asm.Mov.Imm(asm.R4, 1), // make it
		asm.FnSkStorageGet.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.StoreMem(asm.RFP, -64, sock, asm.DWord),
		asm.LoadMapPtr(asm.R1, j.raw.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, own),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, -64),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
		asm.Mov.Reg(asm.R1, ctx),
		asm.LoadMapPtr(asm.R2, j.ends.FD()),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, own),
		asm.Mov.Imm(asm.R4, 1), // unless it is there
		asm.FnSockHashUpdate.Call(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("out"),
		asm.Return(),
	)
}

// moving puts a message into the queue of the other end. A sender that cannot do so once, because the other end is not known
// or has too much waiting, never does again: what came by TCP would be read after what was moved later.
func (j *joint) moving(m mode) (asm.Instructions, error) {
	const ctx, record = asm.R6, asm.R7
	out := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMem(asm.R2, ctx, msgSocket, asm.DWord),
		asm.JEq.Imm(asm.R2, 0, "done"),
		asm.LoadMapPtr(asm.R1, j.senders.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnSkStorageGet.Call(),
		asm.JEq.Imm(asm.R0, 0, "done"),
		asm.Mov.Reg(record, asm.R0),
		asm.LoadMem(asm.R1, record, left, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "done"),
	}
	if m.most > 0 {
		waiting, err := waitingOffset()
		if err != nil {
			return nil, err
		}
		out = append(
			out,
			asm.LoadMapPtr(asm.R1, j.raw.FD()),
			asm.Mov.Reg(asm.R2, record),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "never"),
			asm.LoadMem(asm.R3, asm.R0, 0, asm.DWord),
			asm.Add.Imm(asm.R3, waiting),
			asm.Mov.Reg(asm.R1, asm.RFP), asm.Add.Imm(asm.R1, -8),
			asm.Mov.Imm(asm.R2, 4),
			asm.FnProbeReadKernel.Call(),
			asm.JNE.Imm(asm.R0, 0, "never"),
			asm.LoadMem(asm.R1, asm.RFP, -8, asm.Word),
			asm.JGT.Imm(asm.R1, m.most, "never"),
		)
	}
	return append(
		out,
		asm.Mov.Reg(asm.R1, ctx),
		asm.LoadMapPtr(asm.R2, j.ends.FD()),
		asm.Mov.Reg(asm.R3, record),
		asm.Mov.Imm(asm.R4, ingress),
		asm.FnMsgRedirectHash.Call(),
		asm.JNE.Imm(asm.R0, 0, "done"),
		asm.Mov.Imm(asm.R1, 1).WithSymbol("never"),
		asm.StoreMem(record, left, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("done"), // pass: to where it was moved, or by TCP
		asm.Return(),
	), nil
}

// waitingOffset is where this kernel's struct sock counts the bytes that wait for its reader. No helper of BPF tells it of
// a socket other than the sender's own.
func waitingOffset() (int32, error) {
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return 0, fmt.Errorf("types of the kernel: %w", err)
	}
	var sock *btf.Struct
	if err := kernel.TypeByName("sock", &sock); err != nil {
		return 0, err
	}
	for _, outer := range sock.Members {
		backlog, ok := btf.UnderlyingType(outer.Type).(*btf.Struct)
		if outer.Name != "sk_backlog" || !ok {
			continue
		}
		for _, inner := range backlog.Members {
			if inner.Name == "rmem_alloc" {
				return int32(outer.Offset.Bytes() + inner.Offset.Bytes()), nil
			}
		}
	}
	return 0, errors.New("types of the kernel: struct sock has no sk_backlog.rmem_alloc")
}

// detach leaves connections as they are, and enlists no more.
func (j *joint) detach() error {
	if j.at == nil {
		return nil
	}
	err := j.at.Close()
	j.at = nil
	return err
}

// Close ends it; what was moved can still be read.
func (j *joint) Close() error {
	err := j.detach()
	for _, p := range []*ebpf.Program{j.move, j.enlist} {
		err = errors.Join(err, p.Close())
	}
	for _, m := range []*ebpf.Map{j.ends, j.senders, j.raw} {
		err = errors.Join(err, m.Close())
	}
	return err
}
