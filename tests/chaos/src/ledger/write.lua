-- Raises the value by one, over the value that was read; with a token also only if no larger one has been here since.
-- ARGV: token or '-', the value that was read, the writer.
local value = tonumber(redis.call('HGET', KEYS[1], 'value') or '0')
local stale = ARGV[1] ~= '-' and redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1]
if stale or value ~= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'value', ARGV[2] + 1)
redis.call('RPUSH', KEYS[2], ARGV[3] .. ' ' .. ARGV[1] .. ' ' .. (ARGV[2] + 1))
return 1
