-- Writes unless a newer holder has written before.
-- KEYS: the cell. ARGV: value, fencing token.
-- Answers 1, or 0 where the token is older than the last one.
local stored = tonumber(redis.call('HGET', KEYS[1], 'fence') or 0)
if tonumber(ARGV[2]) < stored then
  return 0
end
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'fence', ARGV[2])
return 1
