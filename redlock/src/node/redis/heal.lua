-- Gives a node back the keys of a lease that it has lost: all that are missing, or none.
-- Keys: n lock keys, then their fencing counters. Arguments: value, ttl in milliseconds, token.
-- Answers 1, or 0 where another value is in the way.
function ops.heal(k, n, a)
  local value, ttl, token = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  for i = k, k + n - 1 do
    local holder = redis.call('GET', KEYS[i])
    if holder and holder ~= value then
      return 0
    end
  end
  local counters = {}
  for i = k + n, k + 2 * n - 1 do
    local stored = redis.call('GET', KEYS[i])
    counters[i] = not stored and 0 or is_token(stored)
    if not counters[i] then
      return { 'BADCOUNTER ' .. KEYS[i] .. ' holds no token below 2^53' }
    end
  end
  for i = k, k + n - 1 do
    redis.call('SET', KEYS[i], value, 'NX', 'PX', ttl)
    if counters[n + i] < tonumber(token) then
      redis.call('SET', KEYS[n + i], token, 'PX', COUNTER_TTL)
    end
  end
  return 1
end
