-- Writes a record unless a newer one is there, and tells everybody. KEYS: the record, the generation.
-- ARGV: generation, time to live in ms, channel, message, version, then fields and values.
-- Answers 1 (written), 0 (a newer one is there), -1 (another generation).
if (tonumber(redis.call('GET', KEYS[2])) or 0) ~= tonumber(ARGV[1]) then
  return -1
end
local held = redis.pcall('HGET', KEYS[1], 'version')
if type(held) == 'table' then
  -- Not a hash: nothing of ours.
  redis.call('DEL', KEYS[1])
  held = false
end
held = held and tonumber(held)
local version = tonumber(ARGV[5])
if held and held > version then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if held ~= version then
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return 1
