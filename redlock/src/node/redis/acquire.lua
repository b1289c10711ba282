-- Sets every key to the claim's value, or none of them, and moves their counters to one number:
-- the top of a span of tokens that nobody else gets.
-- Keys: n lock keys, then their fencing counters. Arguments: value, ttl in milliseconds, proposed
-- top, span.
-- Answers the top as a string, or as an integer how many milliseconds the first key in the way
-- has to live (-1: for ever).
function ops.acquire(k, n, a)
  local value, ttl, proposal, span = ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local function undo(last)
    for i = k, last do
      redis.call('DEL', KEYS[i])
    end
  end
  for i = k, k + n - 1 do
    if not redis.call('SET', KEYS[i], value, 'NX', 'PX', ttl) then
      undo(i - 1)
      local kind = redis.call('TYPE', KEYS[i]).ok
      if kind ~= 'string' then
        return { 'WRONGTYPE the key holds no lock but a ' .. kind }
      end
      return redis.call('PTTL', KEYS[i])
    end
  end
  local top = proposal
  for i = k + n, k + 2 * n - 1 do
    -- One command where the proposal will do, which it nearly always does.
    local stored = redis.pcall('SET', KEYS[i], top, 'PX', COUNTER_TTL, 'GET')
    if type(stored) == 'table' then
      undo(k + n - 1)
      return { stored.err .. ' at ' .. KEYS[i] }
    elseif stored then
      local counter = is_token(stored)
      if not counter or counter + span > MAX_TOKEN then
        redis.call('SET', KEYS[i], stored, 'PX', COUNTER_TTL)
        undo(k + n - 1)
        return { 'BADCOUNTER ' .. KEYS[i] .. ' leaves no token below 2^53' }
      end
      if counter + span > tonumber(top) then
        top = string.format('%.0f', counter + span)
        for j = k + n, i do
          redis.call('SET', KEYS[j], top, 'PX', COUNTER_TTL)
        end
      end
    end
  end
  return top
end
