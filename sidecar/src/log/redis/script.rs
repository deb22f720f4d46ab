//! What Redis does for the log in one step each, as scripts: nothing comes between the lines of one, so
//! any number of replicas may append.
//!
//! # What is stored
//!
//! - `…:log`, a stream. Entry `N-0` is the event of offset N: `t` when it was accepted, by the clock of
//!   Redis in microseconds; `s` its size; `i` its identity or nothing; `e` the event.
//! - `…:ids`, a hash from the identity of every event in the stream that has one to its offset.
//! - `…:state`, a hash: `format`, `id` of the incarnation, `first` and `head`, `bytes`, `time` of the
//!   newest event.
//! - `…:batch:TOKEN`, the answer to a recent append, so that it may be asked again.

use std::sync::LazyLock;

use redis::Script;

/// What the first number of an answer says when it is not an answer.
pub(super) const LOST: i64 = -1;

/// The form of what is stored.
pub(super) const FORMAT: u32 = 1;

/// What all scripts begin with. A number of Lua has 53 bits and is written with all of them.
const COMMON: &str = r"
local stream, ids, state = KEYS[1], KEYS[2], KEYS[3]
local function text(n) return string.format('%.0f', n) end
local function id(n) return text(n) .. '-0' end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function load()
  local s = redis.call('HMGET', state, 'id', 'first', 'head', 'bytes', 'time')
  return s[1], tonumber(s[2]), tonumber(s[3]), tonumber(s[4]), tonumber(s[5])
end
";

/// Evicts the oldest events past a bound, at most about `limit` of them.
const EVICT: &str = r"
local function evict(first, head, bytes, time, max_age, max_events, max_bytes, limit)
  local from, count = first, 1
  local done = false
  while not done and first < head and first - from < limit do
    local page = redis.call('XRANGE', stream, id(first), '+', 'COUNT', count)
    count = 16
    if #page == 0 then first, bytes = head, 0 end
    for _, entry in ipairs(page) do
      local f = entry[2]
      local more = head - first > 1 and (head - first > max_events or bytes > max_bytes)
      if not more and time - f[2] <= max_age then done = true break end
      if f[6] ~= '' and tonumber(redis.call('HGET', ids, f[6])) == first then
        redis.call('HDEL', ids, f[6])
      end
      first, bytes = first + 1, bytes - f[4]
    end
  end
  if first > from then redis.call('XTRIM', stream, 'MINID', '=', id(first)) end
  return first, bytes
end
";

/// ARGV: an incarnation in case there is none, the format. Answers the incarnation, first and head, bytes.
///
/// Where only the state is gone, offsets go on behind those that were given, so that no position is
/// given twice.
const OPEN: &str = r"
local format = redis.call('HGET', state, 'format')
if format and format ~= ARGV[2] then return {format} end
if not redis.call('HGET', state, 'id') then
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  local head = 1
  if #last > 0 then
    head = tonumber(string.match(last[1][1], '^%d+')) + 1
    redis.call('XTRIM', stream, 'MINID', '=', id(head))
  end
  redis.call('DEL', ids)
  redis.call('HSET', state, 'format', ARGV[2], 'id', ARGV[1], 'first', text(head), 'head', text(head),
    'bytes', '0', 'time', '0')
end
local incarnation, first, head, bytes = load()
return {ARGV[2], incarnation, first, head, bytes}
";

/// ARGV: the incarnation, the head that the replica knows, the bounds (age, events, bytes), how long the
/// answer is kept in milliseconds, and for each event its identity, size and bytes. KEYS[4] holds the
/// answer. Answers how many were new, how many not, the last offset, first, head and bytes.
const APPEND: &str = r"
local incarnation, first, head, bytes, newest = load()
if incarnation ~= ARGV[1] or head < tonumber(ARGV[2]) then return {-1} end
local answer = redis.call('GET', KEYS[4])
if answer then
  local fresh, known, last = string.match(answer, '(%d+) (%d+) (%d+)')
  return {tonumber(fresh), tonumber(known), tonumber(last), first, head, bytes}
end
local time = math.max(now(), newest)
local fresh, known, last = 0, 0, head - 1
for i = 7, #ARGV, 3 do
  local identity = ARGV[i]
  local found = identity ~= '' and redis.call('HGET', ids, identity)
  if found then
    known, last = known + 1, tonumber(found)
  else
    redis.call('XADD', stream, id(head), 't', text(time), 's', ARGV[i + 1], 'i', identity, 'e', ARGV[i + 2])
    if identity ~= '' then redis.call('HSET', ids, identity, text(head)) end
    fresh, last, head, bytes = fresh + 1, head, head + 1, bytes + ARGV[i + 1]
  end
end
redis.call('SET', KEYS[4], fresh .. ' ' .. known .. ' ' .. text(last), 'PX', ARGV[6])
first, bytes = evict(first, head, bytes, time, tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]),
  fresh * 2 + 16)
redis.call('HSET', state, 'first', text(first), 'head', text(head), 'bytes', text(bytes), 'time', text(time))
return {fresh, known, last, first, head, bytes}
";

/// ARGV: the incarnation, the head that the replica knows, the bounds. Answers whether there may be more
/// to evict, first, head and bytes.
const EXPIRE: &str = r"
local incarnation, first, head, bytes, newest = load()
if incarnation ~= ARGV[1] or head < tonumber(ARGV[2]) then return {-1} end
local left
left, bytes = evict(first, head, bytes, math.max(now(), newest), tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5]), 512)
if left > first then redis.call('HSET', state, 'first', text(left), 'bytes', text(bytes)) end
return {left - first >= 512 and 1 or 0, left, head, bytes}
";

/// ARGV: the incarnation, an offset, the most bytes. Answers first and head, and the entries.
const READ: &str = r"
local incarnation, first, head = load()
if incarnation ~= ARGV[1] then return {-1} end
local from, left = tonumber(ARGV[2]), tonumber(ARGV[3])
local entries, full, count = {}, from < first, 1
while not full and from < head do
  local page = redis.call('XRANGE', stream, id(from), '+', 'COUNT', count)
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    left = left - entry[2][4]
    if left < 0 and #entries > 0 then full = true break end
    entries[#entries + 1] = entry
    from = from + 1
  end
  count = math.max(1, math.min(64, math.floor(left / page[#page][2][4])))
  full = full or #entries >= 4096
end
return {first, head, entries}
";

/// ARGV: the incarnation, a moment. Answers the offset of the first event at or after it.
const SEEK: &str = r"
local incarnation, first, head = load()
if incarnation ~= ARGV[1] then return {-1} end
local time, low, high = tonumber(ARGV[2]), first, head
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('XRANGE', stream, id(middle), id(middle))[1]
  if entry and tonumber(entry[2][2]) >= time then high = middle else low = middle + 1 end
end
return {low}
";

/// ARGV: the incarnation, the head that the replica knows. Answers first, head and bytes, and the entry
/// before the known head where it is held.
const CHECK: &str = r"
local incarnation, first, head, bytes = load()
if incarnation ~= ARGV[1] or head < tonumber(ARGV[2]) then return {-1} end
local last = tonumber(ARGV[2]) - 1
return {first, head, bytes, redis.call('XRANGE', stream, id(last), id(last))}
";

/// ARGV: the incarnation that was found to have lost events, and the next one. Offsets go on.
const RENEW: &str = r"
if redis.call('HGET', state, 'id') == ARGV[1] then redis.call('HSET', state, 'id', ARGV[2]) end
return {0}
";

pub(super) static OPENING: LazyLock<Script> = LazyLock::new(|| script(&[OPEN]));
pub(super) static APPENDING: LazyLock<Script> = LazyLock::new(|| script(&[EVICT, APPEND]));
pub(super) static EXPIRING: LazyLock<Script> = LazyLock::new(|| script(&[EVICT, EXPIRE]));
pub(super) static READING: LazyLock<Script> = LazyLock::new(|| script(&[READ]));
pub(super) static SEEKING: LazyLock<Script> = LazyLock::new(|| script(&[SEEK]));
pub(super) static CHECKING: LazyLock<Script> = LazyLock::new(|| script(&[CHECK]));
pub(super) static RENEWING: LazyLock<Script> = LazyLock::new(|| script(&[RENEW]));

fn script(parts: &[&str]) -> Script {
    Script::new(&format!("{COMMON}{}", parts.concat()))
}
