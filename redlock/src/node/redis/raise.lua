-- Lets no counter stand below the token, where every lock key holds the claim's value.
-- Keys: n lock keys, then their fencing counters. Arguments: value, token.
-- Answers 1, or 0 where a key does not hold the value.
function ops.raise(k, n, a)
  -- Without this a holder whose lease is over could record a token that the next one has.
  if not holds(k, n, ARGV[a]) then
    return 0
  end
  for i = k + n, k + 2 * n - 1 do
    local stored = redis.call('GET', KEYS[i])
    local counter = not stored and 0 or is_token(stored)
    if not counter then
      return { 'BADCOUNTER ' .. KEYS[i] .. ' holds no token below 2^53' }
    end
    if counter < tonumber(ARGV[a + 1]) then
      redis.call('SET', KEYS[i], ARGV[a + 1], 'PX', COUNTER_TTL)
    end
  end
  return 1
end
