-- Removes journal entries that have been written back, holds of which nothing is left, and, once enough request ids
-- have gathered, the older half of those: all of these are in the database by then. What an entry says of records that
-- do not follow from the database is kept for each of these. Whoever has a copy of a record hears which version the
-- database has by now.
--
-- KEYS: journal, state
-- ARGV: prefix of the keys of request ids, ids that make a generation, entries, holds, channel, messages
--   entries [[stream id, changes, [where it is kept, …]], …]
--   holds   [[hash of the record, epoch, order, sequence], …]

local removed = 0
for _, entry in ipairs(cjson.decode(ARGV[3])) do
  local id, changes, keep = entry[1], entry[2], entry[3]
  local found = keep[1] and redis.call('XRANGE', KEYS[1], id, id)[1]
  if redis.call('XDEL', KEYS[1], id) == 1 then
    removed = removed + changes
    for _, place in ipairs(keep) do redis.call('XADD', place, '*', 'i', id, unpack(found[2])) end
  end
end
if redis.call('XLEN', KEYS[1]) == 0 then
  -- What was removed by hand is not counted any more.
  redis.call('HSET', KEYS[2], 'backlog', 0)
elseif removed > 0 then
  redis.call('HINCRBY', KEYS[2], 'backlog', -removed)
end

for _, hold in ipairs(cjson.decode(ARGV[4])) do
  if redis.call('HGET', hold[1], 'epoch') == hold[2] then
    local packed = redis.call('HGET', hold[1] .. ':holds', hold[3])
    local status, sequence = string.match(packed or '', '^%d+ %d+ (%a) %-?%d+ (%d+)$')
    if status and status ~= 'o' and status ~= 'p' and tonumber(sequence) <= hold[4] then
      redis.call('HDEL', hold[1] .. ':holds', hold[3])
    end
  end
end

for _, message in ipairs(cjson.decode(ARGV[6])) do redis.call('PUBLISH', ARGV[5], message) end

-- Whether the stream id `one` comes after `other`.
local function after(one, other)
  local a, b = string.match(one, '^(%d+)-(%d+)$')
  local c, d = string.match(other, '^(%d+)-(%d+)$')
  if a ~= c then return tonumber(a) > tonumber(c) end
  return tonumber(b) > tonumber(d)
end

local state = redis.call('HMGET', KEYS[2], 'generation', 'mark')
local generation, mark = tonumber(state[1] or '0'), state[2] or '0-0'
if redis.call('HLEN', ARGV[1] .. generation) >= tonumber(ARGV[2]) then
  -- Everything of the generation before this one has its entry at the mark or before it.
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not first or after(first[1], mark) then
    local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    redis.call('UNLINK', ARGV[1] .. (generation - 1))
    redis.call('HSET', KEYS[2], 'generation', generation + 1, 'mark', last and last[1] or '0-0')
  end
end
return removed
