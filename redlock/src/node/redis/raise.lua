-- Lets no counter stand below the token, where every lock key holds the claim's value.
-- KEYS: the lock keys, then their fencing counters.
-- ARGV: value, token, milliseconds a counter lives.
-- Answers 1, or 0 where a key does not hold the value.
local n = #KEYS / 2
for i = 1, n do
  -- Without this a holder whose lease is over could record a token that the next one has.
  if redis.call('GET', KEYS[i]) ~= ARGV[1] then
    return 0
  end
end
for i = n + 1, 2 * n do
  local counter = tonumber(redis.call('GET', KEYS[i]) or 0)
  if not counter then
    return redis.error_reply('BADCOUNTER ' .. KEYS[i] .. ' holds no token below 2^53 - 1')
  end
  if counter < tonumber(ARGV[2]) then
    redis.call('SET', KEYS[i], ARGV[2], 'PX', ARGV[3])
  end
end
return 1
