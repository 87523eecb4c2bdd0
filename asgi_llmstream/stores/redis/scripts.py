"""What the server runs: one script for each operation, so that each is atomic."""

from __future__ import annotations

from .lua import script

__all__ = ["APPEND", "BEGIN", "FORGET", "LIST", "READ", "SEAL", "STOP"]

_WRITING = """
local EVENT_SIZE = 40

local function drop(state, many)
  local gone = redis.call('LPOP', state.events, many)
  for _, event in ipairs(gone) do state.size = state.size - #event - EVENT_SIZE end
  state.first = state.first + #gone
end

-- A little more goes than must, so that it is not done again with the next event.
local function trim(state, max_events, max_size)
  local kept = state.last - state.first + 1
  if max_events > 0 and kept > max_events then
    drop(state, math.min(kept - max_events + math.floor(max_events / 8), kept - 1))
  end
  if max_size > 0 and state.size > max_size then
    local enough = max_size - math.floor(max_size / 8)
    while state.size > enough and state.first < state.last do drop(state, 1) end
  end
end

-- Let the keys of a run live as long as it does, and those that it shares with others.
local function keep(state)
  redis.call('PEXPIREAT', state.run, int(state.expiry))
  redis.call('PEXPIREAT', state.events, int(state.expiry))
  local names = redis.call('HMGET', state.run, 'runs', 'key', 'once', 'live', 'id')
  for place = 1, 3 do
    if names[place] ~= '' then extend(names[place], state.expiry) end
  end
  if state.outcome == '' then
    redis.call('ZADD', names[4], int(state.expiry), names[5])
    extend(names[4], state.expiry)
  else
    redis.call('ZREM', names[4], names[5])
  end
end

-- Add the arguments from this one on as events; the last is the terminal, if there is an outcome.
local function add(state, from)
  local outcome, lease, retention = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
  local was_empty = state.last == 0
  for first = from, #ARGV, 1000 do
    redis.call('RPUSH', state.events, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  for place = from, #ARGV do state.size = state.size + #ARGV[place] + EVENT_SIZE end
  state.last = state.last + math.max(0, #ARGV - from + 1)
  trim(state, tonumber(ARGV[6]), tonumber(ARGV[7]))
  local expiry = state.expiry
  state.outcome = outcome
  if outcome ~= '' then
    state.over, state.gone = now, now + retention
    state.expiry = state.gone
  else
    state.over, state.gone = now + lease, now + lease + retention
    if state.gone > expiry then state.expiry = state.gone + lease end
  end
  redis.call('HSET', state.run, 'epoch', state.epoch, 'first', int(state.first),
    'last', int(state.last), 'size', int(state.size), 'outcome', outcome,
    'over', int(state.over), 'gone', int(state.gone), 'expiry', int(state.expiry))
  if was_empty or state.expiry ~= expiry then keep(state) end
  if outcome ~= '' then
    over_with(state.run)
  elseif #ARGV >= from then
    redis.call('PUBLISH', state.run .. ':news', int(state.last))
  end
end
"""


# KEYS: run, events, runs, live. ARGV: how an owner's run keys begin, id, record, request, lease,
# retention, max_live, on_busy, and two keys more, key and once. They are "" for none, which among
# the KEYS would be one of another slot.
BEGIN = script(
    """
local run, events, runs, live = unpack(KEYS)
local of_owner, id, record, request = unpack(ARGV, 1, 4)
local lease, retention, max_live = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local on_busy, key, once = unpack(ARGV, 8, 10)

local function asked(state)
  return redis.call('HGET', state.run, 'request')
end

local function begun(state)
  local found = answer('begun', state, true)
  found[3] = redis.call('HGET', run, 'replaced')
  return found
end

local mine = load(run, events)
if mine then return begun(mine) end

if once ~= '' then
  local found = redis.call('GET', once)
  local same = found and load(of_owner .. found)
  if same then
    if asked(same) ~= request then return {'reused'} end
    return answer('joined', same, true)
  end
end

local holder = nil
if key ~= '' then
  local youngest = redis.call('ZRANGE', key, -1, -1)[1]
  local found = youngest and load(of_owner .. youngest)
  if found and found.outcome == '' and found.stopping == '0' then
    if now < found.over then
      if asked(found) == request then return answer('joined', found, true) end
      if on_busy == 'refuse' then return answer('busy', found, true) end
    end
    holder = found
  end
end
if max_live > 0 then
  local many = redis.call('ZCOUNT', live, int(now), '+inf')
  if many - (holder and 1 or 0) >= max_live then return {'many'} end
end

-- First what needs memory: a server that has none refuses that, but not behind another write.
local gone = now + lease + retention
local expiry = gone + lease
local replaced = holder and redis.call('HGET', holder.run, 'id') or ''
redis.call('HSET', run, 'record', record, 'id', id, 'request', request, 'epoch', '1', 'first', '1',
  'last', '0', 'size', '0', 'outcome', '', 'stopping', '0', 'over', int(now + lease),
  'gone', int(gone), 'expiry', int(expiry), 'replaced', replaced,
  'runs', runs, 'live', live, 'key', key, 'once', once)
redis.call('PEXPIREAT', run, int(expiry))
redis.call('DEL', events)
if holder then tell_to_stop(holder) end

local youngest = redis.call('ZRANGE', runs, -1, -1, 'WITHSCORES')
local place = math.max(clock[1] * 1000000 + clock[2], tonumber(youngest[2] or 0) + 1)
for _, list in ipairs({runs, key}) do
  if list ~= '' then
    redis.call('ZADD', list, int(place), id)
    extend(list, expiry)
    for _, old in ipairs(redis.call('ZRANGE', list, 0, 9)) do
      if redis.call('EXISTS', of_owner .. old) == 1 then break end
      redis.call('ZREM', list, old)
    end
  end
end
redis.call('ZADD', live, int(expiry), id)
redis.call('ZREMRANGEBYSCORE', live, '-inf', int(now))
extend(live, expiry)
if once ~= '' then redis.call('SET', once, id, 'PXAT', int(expiry)) end
return begun(load(run, events))
""",
)

# KEYS: run, events. ARGV: epoch, after, outcome, lease, retention, max_events, max_size, 1 if the
# record is wanted; and the events.
APPEND = script(
    _WRITING,
    """
local state = load(KEYS[1], KEYS[2])
if not state then return {'unknown'} end
if state.epoch ~= ARGV[1] then return {'stale'} end
local after, outcome, many = tonumber(ARGV[2]), ARGV[3], #ARGV - 8
if after > state.last then return {'behind ' .. int(state.last)} end
local known = state.last - after
if state.outcome == '' then
  if outcome ~= '' and many <= known then return {'none'} end
  add(state, 9 + math.min(known, many))
elseif many > known
  or (outcome ~= '' and (outcome ~= state.outcome or after + many ~= state.last)) then
  return answer('ended', state, true)
end
return answer('is', state, ARGV[8] == '1')
""",
)

# As APPEND, without an epoch.
SEAL = script(
    _WRITING,
    """
local state = load(KEYS[1], KEYS[2])
if not state then return {'unknown'} end
if state.outcome == '' then
  if now < state.over or state.last ~= tonumber(ARGV[2]) then return {'held'} end
  state.epoch = int(state.epoch + 1)
  add(state, 9)
end
return answer('is', state, ARGV[8] == '1')
""",
)

# KEYS: run, events. ARGV: after, limit, 1 if the record is wanted.
READ = script(
    """
local state = load(KEYS[1], KEYS[2])
if not state then return {'unknown'} end
local start, limit = ARGV[1] + 1 - state.first, tonumber(ARGV[2])
if start < 0 then return {'trimmed'} end
local page = answer('is', state, ARGV[3] == '1')
page[3] = limit > 0 and redis.call('LRANGE', KEYS[2], int(start), int(start + limit - 1)) or {}
return page
""",
)

# KEYS: run, events. ARGV: 1 if the record is wanted. It is a mark of a few bytes, and what it
# brings about makes room: so it is set where there is no memory, too.
STOP = script(
    """
local state = load(KEYS[1], KEYS[2])
if not state then return {'unknown'} end
tell_to_stop(state)
return answer('is', state, ARGV[1] == '1')
""",
    flags="allow-oom",
)

# KEYS: a sorted set of runs. ARGV: how all keys of the owner's runs begin.
LIST = script(
    """
local found = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do
  local state = load(ARGV[1] .. id)
  if state then found[#found + 1] = answer('is', state, true) end
end
return found
""",
)

# KEYS: run, events.
FORGET = script(
    """
local names = redis.call('HMGET', KEYS[1], 'id', 'once', 'runs', 'live', 'key')
if names[1] then
  if names[2] ~= '' and redis.call('GET', names[2]) == names[1] then redis.call('DEL', names[2]) end
  for place = 3, 5 do
    if names[place] ~= '' then redis.call('ZREM', names[place], names[1]) end
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
over_with(KEYS[1])
return {}
""",
)
