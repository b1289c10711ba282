-- A holder comes to a record with its token: refused below the largest token that has been here, else that is now its
-- own, and it is told the value. ARGV: token.
local token = tonumber(ARGV[1])
if token < tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') then
  return {0, 0}
end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return {1, tonumber(redis.call('HGET', KEYS[1], 'value') or '0')}
