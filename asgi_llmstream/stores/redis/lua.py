"""What a script is made of, and what it finds in the server.

    key (all of a bucket have its hash tag)      what
    ---------------------------------------      ---------------------------------------------------
    {prefix:bucket}:run:OWNER:ID                 hash: the run's state, and where else it stands
    {prefix:bucket}:events:OWNER:ID              list: its events; number N stands at N - first
    {prefix:bucket}:runs:OWNER                   sorted set: the owner's runs by their beginning
    {prefix:bucket}:live:OWNER                   sorted set: the live ones by their keys' expiry
    {prefix:bucket}:key:OWNER:KEY                sorted set: the runs of a conversation
    {prefix:bucket}:once:OWNER:IDEMPOTENCY-KEY   the id of the run that answers it

An event in a list costs its bytes and two or three more. Whether a run is lost or forgotten is told
by the times in its hash, in milliseconds of the server's clock. The keys' own expiry comes up to a
lease later, so that it need not be renewed with each token.

Of two channels the one, `RUN:news`, is for its readers, and says the number of the last event; the
other, `RUN:stop`, is for its writer. A message without a number says that there is no more to come.
"""

from __future__ import annotations

from hashlib import sha1
from typing import NamedTuple

__all__ = ["Script", "script"]


class Script(NamedTuple):
    """A script, and the name by which a server has it that has run it once."""

    source: str
    sha: str


_COMMON = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function int(number)
  return string.format('%.0f', number)
end

local function load(run, events)
  local found = redis.call('HMGET', run, 'epoch', 'first', 'last', 'size', 'outcome', 'stopping',
    'over', 'gone', 'expiry')
  if not found[1] or tonumber(found[8]) <= now then return nil end
  local state = {
    run = run, events = events, epoch = found[1], first = tonumber(found[2]),
    last = tonumber(found[3]), size = tonumber(found[4]), outcome = found[5], stopping = found[6],
    over = tonumber(found[7]), gone = tonumber(found[8]), expiry = tonumber(found[9]),
  }
  -- A server that evicts keys may have taken the events, and left the rest.
  if events and redis.call('LLEN', events) ~= state.last - state.first + 1 then return nil end
  return state
end

-- In one string, since clients read an answer of many pieces slowly.
local function answer(word, state, with_record)
  local record = with_record and redis.call('HGET', state.run, 'record') or ''
  local expires = state.outcome ~= '' and int(state.gone) or '0'
  local said = {word, int(state.first), int(state.last), state.stopping, expires, state.outcome}
  return {table.concat(said, ' '), record}
end

local function tell_to_stop(state)
  if state.outcome == '' and state.stopping == '0' then
    redis.call('HSET', state.run, 'stopping', '1')
    state.stopping = '1'
    redis.call('PUBLISH', state.run .. ':stop', '')
  end
end

local function over_with(run)
  redis.call('PUBLISH', run .. ':news', '')
  redis.call('PUBLISH', run .. ':stop', '')
end

-- Have a key that several runs share expire at this time, or later.
local function extend(key, at)
  if redis.call('PEXPIRETIME', key) < at then redis.call('PEXPIREAT', key, int(at)) end
end
"""


def script(*parts: str, flags: str = "") -> Script:
    """Return the script that begins with what all have."""
    source = "".join([f"#!lua flags={flags}\n" if flags else "", _COMMON, *parts])
    return Script(source, sha1(source.encode(), usedforsecurity=False).hexdigest())
