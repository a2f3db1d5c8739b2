import { createHash } from 'node:crypto'

/** A Lua script and the name under which a server knows it once it ran there. */
export interface RedisScript {
  readonly text: string
  readonly sha1: string
}

/**
 * What each key of the store holds; all of one store share a hash tag, so that a cluster keeps them in one slot.
 *
 * - an *entry*, one for each idempotency key: a hash of `state` (claim, done, failed), `fence`, `end` (microseconds since
 *   1970 on the server's clock, or `forever`), and, where there are any, `owner`, `print` (the fingerprint), `result`,
 *   `name`, `message`, `code`
 * - `ends`: a sorted set of idempotency keys by `end`, for sweeping; those that never end are not in it
 * - `fences`: the last fence that was given. It has no expiry.
 *
 * An entry has an expiry of its own, so that Redis lets go of what nobody sweeps: a mark at its end, a claim some time
 * after its lease, since a late owner may still end it. `begin` then drops two names from `ends` for each that it adds.
 *
 * Scripts are not undone when they fail in the middle: each one reads all its keys before it writes, so that a key of
 * another type stops it while nothing has changed.
 */
const prelude = `
local forever = 9007199254740992
local keptUs = 86400000000
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(number) return string.format('%.0f', number) end
local function expire(entry, us) redis.call('PEXPIREAT', entry, int(math.ceil(us / 1000))) end
`

function script(body: string): RedisScript {
  const text = prelude + body
  return { text, sha1: createHash('sha1').update(text).digest('hex') }
}

/**
 * Keys: entry, ends, fences. Arguments: idempotency key, owner, lease in ms, fingerprint or an empty text.
 *
 * A fence is the server's time in microseconds, or one more than the last one where that is greater: it rises when the
 * clock is set back, and it rises as well when the counter was lost with the data or is older after a failover.
 *
 * On a server without memory HSET fails, as long as it is the first thing to write.
 */
export const beginScript: RedisScript = script(`
local entry, ends, fences = KEYS[1], KEYS[2], KEYS[3]
local name, owner, lease, print = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('HMGET', entry, 'state', 'end', 'print', 'owner')
local state, seen = found[1], found[3]
local left = (tonumber(found[2] or 0)) - now
if state and left > 0 then
  if print ~= '' and seen and seen ~= print then return { 'mismatch', seen } end
  if state == 'claim' then return { 'busy', int(math.ceil(left / 1000)), found[4] } end
  if state == 'done' then
    local result = redis.call('HGET', entry, 'result')
    return result and { 'done', result } or { 'done' }
  end
  local failure = redis.call('HMGET', entry, 'name', 'message', 'code')
  if not failure[3] then failure[3] = nil end
  return { 'failed', unpack(failure) }
end
local fence = int(math.max(tonumber(redis.call('GET', fences) or 0) + 1, now))
local gone = redis.call('ZRANGEBYSCORE', ends, '-inf', int(now - keptUs), 'LIMIT', 0, 2)
if state then redis.call('DEL', entry) end
local ended = now + lease * 1000
redis.call('HSET', entry, 'state', 'claim', 'fence', fence, 'end', int(ended), 'owner', owner)
if print ~= '' then redis.call('HSET', entry, 'print', print) end
expire(entry, ended + keptUs)
if #gone > 0 then redis.call('ZREM', ends, unpack(gone)) end
redis.call('ZADD', ends, int(ended), name)
redis.call('SET', fences, fence)
return { 'acquired', fence }
`)

/** Keys: entry, ends. Arguments: idempotency key, fence, lease in ms. */
export const renewScript: RedisScript = script(`
local entry, ends = KEYS[1], KEYS[2]
local name, fence, lease = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('HMGET', entry, 'fence', 'state')
redis.call('ZCARD', ends)
if found[1] ~= fence or found[2] ~= 'claim' then return { 'fenced' } end
local ended = now + lease * 1000
-- First, since it needs no memory: what follows is not refused any more on a server that has none.
expire(entry, ended + keptUs)
redis.call('HSET', entry, 'end', int(ended))
redis.call('ZADD', ends, int(ended), name)
return { 'accepted' }
`)

/**
 * Keys: entry, ends. Arguments: idempotency key, fence, the new state, how long the mark is kept in ms or an empty text
 * for ever, and the names and values of what it carries.
 */
export const markScript: RedisScript = script(`
local entry, ends = KEYS[1], KEYS[2]
local name, fence, state, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('HMGET', entry, 'fence', 'state', 'end')
redis.call('ZCARD', ends)
if found[1] ~= fence then return { 'fenced' } end
if found[2] ~= 'claim' then
  local stands = found[2] == state and tonumber(found[3]) > now
  return { stands and 'accepted' or 'fenced' }
end
local ended = ttl == '' and forever or math.min(forever, now + ttl * 1000)
-- First, since it needs no memory: what follows is not refused any more on a server that has none.
redis.call('HDEL', entry, 'owner')
redis.call('HSET', entry, 'state', state, 'end', int(ended), unpack(ARGV, 5))
if ended < forever then
  expire(entry, ended)
  redis.call('ZADD', ends, int(ended), name)
else
  redis.call('PERSIST', entry)
  redis.call('ZREM', ends, name)
end
return { 'accepted' }
`)

/** Keys: entry, ends. Arguments: idempotency key, fence. */
export const releaseScript: RedisScript = script(`
local entry, ends = KEYS[1], KEYS[2]
local found = redis.call('HMGET', entry, 'fence', 'state')
redis.call('ZCARD', ends)
if found[1] ~= ARGV[2] or found[2] ~= 'claim' then return { 'fenced' } end
redis.call('DEL', entry)
redis.call('ZREM', ends, ARGV[1])
return { 'accepted' }
`)

/** Key: ends. Argument: how many at most. Returns idempotency keys whose time is over; changes nothing. */
export const endedScript: RedisScript = script(`
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, ARGV[1])
`)

/** Keys: ends, entries. Arguments: their idempotency keys. Forgets those whose time is over still, and says how many, and whether there are more. */
export const forgetScript: RedisScript = script(`
local ends, removed = KEYS[1], 0
for i, name in ipairs(ARGV) do
  local score = redis.call('ZSCORE', ends, name)
  if score and tonumber(score) <= now then
    redis.call('DEL', KEYS[i + 1])
    redis.call('ZREM', ends, name)
    removed = removed + 1
  end
end
local more = redis.call('ZCOUNT', ends, '-inf', int(now)) > 0
return { int(removed), more and 'more' or 'none' }
`)
